"""The models: one file, one Pyro generative model, to be read beside its paper."""

from bayescg.models.action_map import ActionMap
from bayescg.models.autoencoder import Autoencoder
from bayescg.models.backmapping import Backmapping
from bayescg.models.boltzmann_generator import BoltzmannGenerator
from bayescg.models.direct_map import DirectMap
from bayescg.models.effective_dynamics import EffectiveDynamics
from bayescg.models.embedded_physics import EmbeddedPhysics
from bayescg.models.force_matching_potential import ForceMatchingPotential
from bayescg.models.generator_eigenfunctions import GeneratorEigenfunctions
from bayescg.models.hidden_markov import HiddenMarkov
from bayescg.models.multitask_cv import MultitaskCV
from bayescg.models.neural_potential import NeuralPotential
from bayescg.models.predictive_coarse_graining import PredictiveCoarseGraining
from bayescg.models.predictive_cv import PredictiveCV
from bayescg.models.reversible_deep_msm import ReversibleDeepMSM
from bayescg.models.time_lagged_autoencoder import TimeLaggedAutoencoder
from bayescg.models.variational_dynamics_encoder import VariationalDynamicsEncoder

__all__ = [
    "ActionMap",
    "Autoencoder",
    "Backmapping",
    "BoltzmannGenerator",
    "DirectMap",
    "EffectiveDynamics",
    "EmbeddedPhysics",
    "ForceMatchingPotential",
    "GeneratorEigenfunctions",
    "HiddenMarkov",
    "MultitaskCV",
    "NeuralPotential",
    "PredictiveCV",
    "PredictiveCoarseGraining",
    "ReversibleDeepMSM",
    "TimeLaggedAutoencoder",
    "VariationalDynamicsEncoder",
]
