"""The models: one file, one Pyro generative model, to be read beside its paper."""

from bayescg.models.boltzmann_generator import BoltzmannGenerator
from bayescg.models.embedded_physics import EmbeddedPhysics
from bayescg.models.predictive_cv import PredictiveCV

__all__ = ["BoltzmannGenerator", "EmbeddedPhysics", "PredictiveCV"]
