"""The score by which models of a kind are compared where none is named."""

from __future__ import annotations

from collections.abc import Sequence

from bayescg.errors import ConfigError
from bayescg.modelling import HasBasis, HasMap, HasPotential, Model

__all__ = ["score_of"]


def score_of(models: Sequence[Model]) -> str:
    """Score of :func:`bayescg.analysis.compare` that all of these models have, the sharpest first.

    Raises
    ------
    ConfigError
        There is none.

    Examples
    --------
    >>> from bayescg.models import GeneratorEigenfunctions, PredictiveCV, ReversibleDeepMSM
    >>> score_of([PredictiveCV(latent_dim=1), PredictiveCV(latent_dim=2)])
    'log_score'
    >>> score_of([ReversibleDeepMSM(states=2), GeneratorEigenfunctions(modes=1)])
    'vampe'
    >>> score_of([ReversibleDeepMSM(states=2, lag=1.0), ReversibleDeepMSM(states=2, lag=5.0)])
    'vampe'
    """
    if not any(model.needs_frames for model in models):
        return "log_z"
    if all(isinstance(model, HasPotential) and model.conditional and not model.needs_pairs for model in models):
        return "forces"
    lags = {getattr(model, "lag", None) for model in models}
    if all(_has_density(model) for model in models) and len({model.needs_pairs for model in models}) == len(lags) == 1:
        return "log_score"
    if all(isinstance(model, HasMap) for model in models):
        return "steps"
    if all(getattr(model, "logits", None) and model.fixed_cvs for model in models):
        return "commitments"
    if all(isinstance(model, HasBasis) for model in models):
        return (
            "timescales"
            if all(getattr(model, "lag", None) is None and not model.needs_pairs for model in models)
            else "vampe"
        )
    names = ", ".join(dict.fromkeys(type(model).__name__ for model in models))
    raise ConfigError(f"{names}: there is no score that all of these have")


def _has_density(model: Model) -> bool:
    if not model.needs_frames or (model.conditional and not model.needs_pairs):
        return False
    return (model.pair_density if model.needs_pairs else model.density_of) is not None
