"""What the author of a model reads: the base classes, the batch, the registry."""

import pyro

pyro.settings.set(module_local_params=True)

from bayescg.data import evenly  # noqa: E402
from bayescg.modelling.batch import Batch  # noqa: E402
from bayescg.modelling.families.bead_model import BeadModel  # noqa: E402
from bayescg.modelling.families.diffusion_model import DiffusionModel  # noqa: E402
from bayescg.modelling.families.generator_model import GeneratorModel  # noqa: E402
from bayescg.modelling.families.latent_generator import LatentGeneratorModel  # noqa: E402
from bayescg.modelling.families.map_model import HasMap, MapModel  # noqa: E402
from bayescg.modelling.families.particle_model import ParticleModel  # noqa: E402
from bayescg.modelling.families.states_model import StatesModel  # noqa: E402
from bayescg.modelling.families.stretch_model import StretchModel  # noqa: E402
from bayescg.modelling.families.two_way_model import TwoWayModel  # noqa: E402
from bayescg.modelling.families.variable_model import VariableModel  # noqa: E402
from bayescg.modelling.feature_model import FeatureModel, PairModel, check_features  # noqa: E402
from bayescg.modelling.model import HasBasis, HasCV, HasFeatures, HasNetwork, Model, check_programs  # noqa: E402
from bayescg.modelling.model_arguments import not_in_a_file  # noqa: E402
from bayescg.modelling.potential_model import HasPotential, PotentialModel  # noqa: E402
from bayescg.modelling.registry import find_model, model_names  # noqa: E402
from bayescg.modelling.schedules.adaptive_tempering import AdaptiveTempering, tempering  # noqa: E402
from bayescg.modelling.schedules.range_annealing import RangeAnnealing  # noqa: E402
from bayescg.modelling.schedules.reweighted_annealing import ReweightedAnnealing  # noqa: E402
from bayescg.modelling.schedules.schedule import Schedule  # noqa: E402
from bayescg.modelling.schedules.staged_annealing import StagedAnnealing  # noqa: E402
from bayescg.modelling.schedules.weighted import Draws  # noqa: E402
from bayescg.modelling.system_model import SystemModel, box_of, placing  # noqa: E402
from bayescg.modelling.transition import HasTransition  # noqa: E402

__all__ = [
    "AdaptiveTempering",
    "Batch",
    "BeadModel",
    "DiffusionModel",
    "Draws",
    "FeatureModel",
    "GeneratorModel",
    "HasBasis",
    "HasCV",
    "HasFeatures",
    "HasMap",
    "HasNetwork",
    "HasPotential",
    "HasTransition",
    "LatentGeneratorModel",
    "MapModel",
    "Model",
    "PairModel",
    "ParticleModel",
    "PotentialModel",
    "RangeAnnealing",
    "ReweightedAnnealing",
    "Schedule",
    "StagedAnnealing",
    "StatesModel",
    "StretchModel",
    "SystemModel",
    "TwoWayModel",
    "VariableModel",
    "box_of",
    "check_features",
    "check_programs",
    "evenly",
    "find_model",
    "model_names",
    "not_in_a_file",
    "placing",
    "tempering",
]
