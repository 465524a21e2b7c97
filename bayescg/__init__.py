"""Bayesian coarse-graining of molecular dynamics, on Pyro and PyTorch.

Every method is a pair (model, guide) with one objective, run by one loop; every answer is a set of draws.
Start with :func:`bayescg.data.load`, a model of :mod:`bayescg.models` and :func:`bayescg.fit`.

Submodules are imported when they are first used, so that the command line answers at once. Pyro's setting
``module_local_params`` is switched on with the first of them that uses Pyro: parameters belong to the module that
made them, never to a store shared by the process.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

__all__ = [
    "Batch",
    "Fit",
    "Model",
    "__version__",
    "analysis",
    "data",
    "errors",
    "experiments",
    "features",
    "fit",
    "models",
    "nets",
    "plot",
    "sampling",
    "systems",
    "truth",
    "units",
]

_NAMES = {"Batch": "modelling", "Fit": "inference", "Model": "modelling", "fit": "inference"}
_SUBMODULES = set(__all__) - _NAMES.keys() - {"__version__"}

if TYPE_CHECKING:
    from bayescg import analysis as analysis
    from bayescg import data as data
    from bayescg import errors as errors
    from bayescg import experiments as experiments
    from bayescg import features as features
    from bayescg import models as models
    from bayescg import nets as nets
    from bayescg import plot as plot
    from bayescg import sampling as sampling
    from bayescg import systems as systems
    from bayescg import truth as truth
    from bayescg import units as units
    from bayescg.inference import Fit as Fit
    from bayescg.inference import fit as fit
    from bayescg.modelling import Batch as Batch
    from bayescg.modelling import Model as Model


def __getattr__(name: str) -> Any:
    if name in _NAMES:
        return getattr(import_module(f"bayescg.{_NAMES[name]}"), name)
    if name in _SUBMODULES:
        return import_module(f"bayescg.{name}")
    raise AttributeError(f"module 'bayescg' has no attribute {name!r}; it has {', '.join(__all__)}")


def __dir__() -> list[str]:
    return sorted(__all__)
