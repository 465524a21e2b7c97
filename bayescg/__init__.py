"""Bayesian coarse-graining of molecular dynamics, on Pyro and PyTorch.

Every method is a pair (model, guide) with one objective, run by one loop; every answer is a set of draws.
Start with :func:`bayescg.data.load`, a model of :mod:`bayescg.models` and :func:`bayescg.fit`.

Submodules are imported when they are first used, so that the command line answers at once. Pyro's setting
``module_local_params`` is switched on with the first of them that uses Pyro: parameters belong to the module that
made them, never to a store shared by the process.
"""

from typing import TYPE_CHECKING

from bayescg.lazy import lazily

__version__ = "0.1.0"

if TYPE_CHECKING:
    from bayescg import analysis as analysis
    from bayescg import data as data
    from bayescg import distributions as distributions
    from bayescg import errors as errors
    from bayescg import experiments as experiments
    from bayescg import export as export
    from bayescg import features as features
    from bayescg import modelling as modelling
    from bayescg import models as models
    from bayescg import nets as nets
    from bayescg import plot as plot
    from bayescg import questions as questions
    from bayescg import sampling as sampling
    from bayescg import systems as systems
    from bayescg import truth as truth
    from bayescg import units as units
    from bayescg.inference import Fit as Fit
    from bayescg.inference import fit as fit
    from bayescg.modelling import Batch as Batch
    from bayescg.modelling import Model as Model

__getattr__, __dir__ = lazily(__name__, __file__)
