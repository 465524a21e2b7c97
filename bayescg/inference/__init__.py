"""Inference: models, batches, and `fit`, the one loop that trains every (model, guide) pair."""

import pyro

pyro.settings.set(module_local_params=True)

from bayescg.inference.batch import Batch  # noqa: E402
from bayescg.inference.featured import FeatureModel, PairModel, evenly  # noqa: E402
from bayescg.inference.fitted import Fit  # noqa: E402
from bayescg.inference.model import HasBasis, HasCV, HasFeatures, HasSampler, Model, check_programs  # noqa: E402
from bayescg.inference.queried import SystemModel  # noqa: E402
from bayescg.inference.registry import find_model, model_names  # noqa: E402
from bayescg.inference.run import fit  # noqa: E402

__all__ = [
    "Batch",
    "FeatureModel",
    "Fit",
    "HasBasis",
    "HasCV",
    "HasFeatures",
    "HasSampler",
    "Model",
    "PairModel",
    "SystemModel",
    "check_programs",
    "evenly",
    "find_model",
    "fit",
    "model_names",
]
