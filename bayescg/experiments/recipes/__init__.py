"""Kinds of run: the stages of each, in order."""

from bayescg.errors import ConfigError
from bayescg.experiments.recipes.coarse_grained import CoarseGrained
from bayescg.experiments.recipes.from_energies import FromEnergies
from bayescg.experiments.recipes.from_frames import FromFrames
from bayescg.experiments.recipes.label_and_learn import LabelAndLearn
from bayescg.experiments.recipes.learn_bias_reweight import LearnBiasReweight
from bayescg.experiments.recipes.long_dynamics import LongDynamics
from bayescg.experiments.recipes.recipe import Recipe
from bayescg.experiments.recipes.seed_and_simulate import SeedAndSimulate
from bayescg.experiments.recipes.several_methods import SeveralMethods
from bayescg.experiments.schema import Experiment

__all__ = ["RECIPES", "Recipe", "recipe_of"]

RECIPES: tuple[type[Recipe], ...] = (
    SeveralMethods, LearnBiasReweight, CoarseGrained, LabelAndLearn, SeedAndSimulate, LongDynamics, FromFrames,
    FromEnergies,
)  # fmt: skip


def recipe_of(experiment: Experiment) -> type[Recipe]:
    """The kind of run that an experiment is.

    Raises
    ------
    ConfigError
        There is none.
    """
    for recipe in RECIPES:
        if recipe.serves(experiment):
            return recipe
    raise ConfigError(f"no kind of run serves {experiment.experiment.name}")
