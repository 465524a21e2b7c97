"""The CVs of a fit as a network, and whether it is what the fit itself says."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from bayescg.errors import ConfigError, ModelError
from bayescg.export.affine_layers import layers_of
from bayescg.export.cv_network import CVNetwork
from bayescg.features import Features, Flat
from bayescg.inference.fitted import Fit
from bayescg.modelling.model import HasCV, HasNetwork, cv_of

__all__ = ["agreeing", "features_of", "network_of"]


def features_of(fit: Fit) -> Features:
    """The features of a fit whose CVs an engine can be told.

    Raises
    ------
    ConfigError
        This is no fit.
    ModelError
        Its model reads flat coordinates.
    """
    if not isinstance(fit, Fit):
        raise ConfigError(f"an export takes what bcg.fit or bcg.Fit.load returns, not a {type(fit).__name__}")
    features = getattr(fit.model, "features", None)
    if features is None or isinstance(features, Flat):
        raise ModelError(
            f"this {type(fit.model).__name__} reads flat coordinates, which no engine knows: fit it with features of a "
            "molecule, bcg.features.torsions(top) or distances(top), say"
        )
    return features


def network_of(fit: Fit, refits: bool = True) -> CVNetwork:
    """The network of ``fit.cv``.

    Parameters
    ----------
    fit : Fit
    refits : bool
        Whether the CVs are those of all refits of an ensemble or bootstrap together; else of the trained values alone.

    Raises
    ------
    ModelError
        The model has no CVs, or none that are a network of features; or a module of it is none that can be exported.
    """
    model, name = fit.model, type(fit.model).__name__
    if not isinstance(model, HasCV):
        raise ModelError(f"{name} has no collective variables to export")
    if not isinstance(model, HasNetwork):
        raise ModelError(
            f"the CVs of {name} are no network of features that an engine can be told; give the model a method "
            "network() (bayescg.modelling.HasNetwork), or fit one that has it, such as PredictiveCV"
        )
    if fit.gauge is None or not refits:
        layers, size = layers_of(model)
        return CVNetwork([(w[None], b[None], a) for w, b, a in layers], torch.eye(size)[None])
    each = [layers_of(refit)[0] for refit in _refits(fit)]
    gauge = fit.gauge.detach().cpu().double()
    (weights, biases, names) = zip(*(_stacked(parts) for parts in zip(*each, strict=True)), strict=True)
    size = gauge.shape[1]
    turn = torch.eye(weights[-1].shape[1], dtype=torch.float64).repeat(len(gauge), 1, 1)
    turn[:, :size, :size] = gauge.mT
    last = turn @ weights[-1], (turn @ biases[-1].unsqueeze(-1)).squeeze(-1)
    return CVNetwork(zip((*weights[:-1], last[0]), (*biases[:-1], last[1]), names, strict=True), gauge)


def agreeing(fit: Fit, network: CVNetwork, x: Tensor, refits: bool = True) -> None:
    """Refuse a network that gives conformations ``(n, atoms, 3)`` other CVs than the fit, rounding apart.

    Raises
    ------
    ModelError
        ``network()`` of the model is not what its ``cv`` does.
    """
    model: Any = fit.model
    features = getattr(model, "features", None)
    with torch.no_grad():
        x = x.to(next(model.parameters()))
        y = x.flatten(1) if features is None else features(x)
        ours = network(y.cpu().double())[:, : network.latent_dim]
        cvs = fit.cv(x) if refits else cv_of(model, x)
    theirs = cvs.mean.cpu().double()
    if not torch.allclose(ours, theirs, rtol=1e-2, atol=1e-2):
        frame, cv = divmod(int((ours - theirs).abs().argmax()), network.latent_dim)
        raise ModelError(
            f"{type(model).__name__}.network() is not what its cv() does: z{cv + 1} of frame {frame} would be "
            f"{ours[frame, cv]:.4g}, and is {theirs[frame, cv]:.4g}; let network() give all modules that features pass"
        )


def _stacked(parts: tuple[tuple[Tensor, Tensor, str], ...]) -> tuple[Tensor, Tensor, str]:
    weights, biases, names = zip(*parts, strict=True)
    return torch.stack(weights), torch.stack(biases), names[0]


def _refits(fit: Fit) -> Iterator[Any]:
    for member in range(fit.weights.members or 0):
        model = copy.deepcopy(fit.model)
        values = {**fit.weights.point, **{k: v[member] for k, v in fit.weights.tensors.items()}}
        model.load_state_dict({k: v for k, v in values.items() if k in model.state_dict()})
        yield model
