"""All questions, in the order in which their answers are read."""

from functools import cache
from importlib import import_module
from typing import Any

from bayescg.errors import ConfigError
from bayescg.questions.question import Question
from bayescg.questions.sections import Shared

__all__ = ["QUESTIONS", "Analysis", "find_question"]

QUESTIONS = {
    "samples": "Samples",
    "missing_mass": "MissingMass",  # before free energies, which repeat what it found
    "shots": "HeldOutShots",
    "force_identities": "ForcesOfTheFrames",
    "learned_forces": "LearnedForces",
    "umbrella_mixing": "MixingAlongTheLadder",
    "long_steps": "DynamicsOfLongSteps",
    "coarse_against_all_atom": "CoarseAgainstAllAtom",
    "atoms_around_beads": "AtomsAroundBeads",
    "averages": "Averages",
    "collective_variables": "CollectiveVariables",
    "what_cvs_follow": "WhatCVsFollow",
    "latent_potential": "LatentPotential",
    "predictions": "Predictions",
    "checks": "Checks",
    "beside_others": "BesideOthers",
    "exact_eigenfunction": "BesideTheExactEigenfunction",
    "seeded_rounds": "SeededRounds",
    "slow_modes": "EigenvaluesAndTimescales",
    "diffusion_along_cv": "DiffusionAlongCV",
    "hidden_exchange": "HiddenExchange",
    "generated_frames": "GeneratedFrames",
    "lag_times": "LagTimes",
    "mean_forces": "MeanForces",
    "free_energies": "FreeEnergies",
    "measured_averages": "MeasuredAverages",
    "reaction_rates": "ReactionRates",
    "held_out": "HeldOut",
    "alternatives": "Alternatives",
    "mixture_modes": "MixtureModes",
    "reference": "HeldToReference",
    "other_temperatures": "OtherTemperatures",
    "training": "Training",
}
"""Name of a question, which is that of its file in this room, and its class."""


@cache
def find_question(name: str) -> Question:
    """A question by name.

    Raises
    ------
    ConfigError
        There is none of this name.

    Examples
    --------
    >>> type(find_question("slow_modes")).__name__
    'EigenvaluesAndTimescales'
    """
    if name not in QUESTIONS:
        raise ConfigError(f"no question is called {name!r}; there are {', '.join(QUESTIONS)}")
    return getattr(import_module(f"bayescg.questions.{name}"), QUESTIONS[name])()


_SECTIONS: Any = dict.fromkeys(find_question(name).Settings for name in QUESTIONS)


class Analysis(Shared, *(s for s in _SECTIONS if s.model_fields)):
    """``[analysis]``: what all questions read, and the settings of each."""
