"""The CVs of a fit as affine layers over features, in double precision: what every engine's form is written from."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Iterator
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from bayescg import nets
from bayescg.errors import ConfigError, ModelError
from bayescg.features import Features, Flat
from bayescg.inference import Fit
from bayescg.modelling import HasCV, HasNetwork
from bayescg.modelling.model import cv_of

__all__ = ["CVNetwork", "agreeing", "exportable", "network_of"]

_LINEAR = "linear"
_FUNCTIONS = {"linear": torch.nn.Identity(), **{name: kind() for name, kind in nets.ACTIVATIONS.items()}}
_NAMES = {kind: name for name, kind in nets.ACTIVATIONS.items()}


class CVNetwork(nn.Module):
    r"""Means and standard deviations of CVs as functions of features.

    A refit m maps features f through affine layers with activations to means :math:`\mu_m`, and, where its CVs are
    Gaussian, to numbers :math:`r_m` of which their widths are :math:`s_m = \exp(8 \tanh(r_m / 8))`. With the orthogonal
    maps :math:`G_m` of the refits onto the trained CVs, already part of the means,

    .. math:: z = \langle \mu_m \rangle_m, \qquad
       \mathrm{sd}_a^2 = \langle \textstyle\sum_d G_{m,da}^2 s_{m,d}^2 + (\mu_{m,a} - z_a)^2 \rangle_m

    are mean and standard deviation of ``fit.cv``, the even mixture of the refits.

    Parameters
    ----------
    layers : sequence of (weight, bias, activation)
        ``(refits, outputs, inputs)``, ``(refits, outputs)`` and one of `nets.ACTIVATIONS` or ``"linear"``.
    gauge : Tensor, shape (refits, latent_dim, latent_dim)

    Attributes
    ----------
    outputs : list of str
        ``z1, z2, ...`` and, where they have any, the standard deviations ``sd1, sd2, ...``.
    """

    gauge: Tensor

    def __init__(self, layers: Iterable[tuple[Tensor, Tensor, str]], gauge: Tensor):
        super().__init__()
        weights, biases, self.activations = zip(*layers, strict=True)
        self.weights, self.biases = (
            nn.ParameterList(nn.Parameter(v.double(), requires_grad=False) for v in values)
            for values in (weights, biases)
        )
        self.register_buffer("gauge", gauge.double())
        self.refits, self.latent_dim = gauge.shape[:2]
        self.gaussian = weights[-1].shape[1] == 2 * self.latent_dim
        kinds = ("z", "sd") if self.gaussian or self.refits > 1 else ("z",)
        self.outputs = [f"{kind}{i + 1}" for kind in kinds for i in range(self.latent_dim)]

    @property
    def layers(self) -> list[tuple[Tensor, Tensor, str]]:
        """Weight, bias and activation of each layer."""
        return list(zip(self.weights, self.biases, self.activations, strict=True))

    @property
    def hidden(self) -> list[int]:
        """Widths of the hidden layers."""
        return [len(bias[0]) for bias in list(self.biases)[:-1]]

    def forward(self, f: Tensor) -> Tensor:
        """Outputs ``(n, outputs)`` of features ``(n, size)``."""
        h = f.unsqueeze(-2)  # the same for all refits
        for weight, bias, activation in self.layers:
            h = _FUNCTIONS[activation]((weight @ h.unsqueeze(-1)).squeeze(-1) + bias)
        means = h[..., : self.latent_dim]
        z = means.mean(-2)
        if len(self.outputs) == self.latent_dim:
            return z
        variance = (means - z.unsqueeze(-2)).square().mean(-2)
        if self.gaussian:
            widths = (8.0 * torch.tanh(h[..., self.latent_dim :] / 8.0)).exp()
            variance = variance + torch.einsum("...md,mda->...ma", widths.square(), self.gauge.square()).mean(-2)
        return torch.cat([z, variance.sqrt()], -1)


def exportable(fit: Fit) -> tuple[Features, Any]:
    """Features and model of a fit whose CVs an engine can be told.

    Raises
    ------
    ConfigError
        This is no fit.
    ModelError
        It has no CVs, none that are a network, or none of features of a molecule.
    """
    if not isinstance(fit, Fit):
        raise ConfigError(f"an export takes what bcg.fit or bcg.Fit.load returns, not a {type(fit).__name__}")
    name = type(fit.model).__name__
    if not isinstance(fit.model, HasCV):
        raise ModelError(f"{name} has no collective variables to export")
    if not isinstance(fit.model, HasNetwork):
        raise ModelError(
            f"the CVs of {name} are no network of features that an engine can be told; give the model a method "
            "network() (bayescg.modelling.HasNetwork), or fit one that has it, such as PredictiveCV"
        )
    features = getattr(fit.model, "features", None)
    if features is None or isinstance(features, Flat):
        raise ModelError(
            f"this {name} reads flat coordinates, which no engine knows: fit it with features of a molecule, "
            "bcg.features.torsions(top) or distances(top), say"
        )
    return features, fit.model


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
        As `exportable`; a layer of the network is none that can be exported.
    """
    _, model = exportable(fit)
    if fit.gauge is None or not refits:
        layers, size = _layers(model)
        return CVNetwork([(w[None], b[None], a) for w, b, a in layers], torch.eye(size)[None])
    each = [_layers(refit)[0] for refit in _refits(fit)]
    gauge = fit.gauge.detach().cpu().double()
    (weights, biases, names) = zip(*(_stacked(parts) for parts in zip(*each, strict=True)), strict=True)
    size = gauge.shape[1]
    turn = torch.eye(weights[-1].shape[1], dtype=torch.float64).repeat(len(gauge), 1, 1)
    turn[:, :size, :size] = gauge.mT
    last = turn @ weights[-1], (turn @ biases[-1].unsqueeze(-1)).squeeze(-1)
    return CVNetwork(zip((*weights[:-1], last[0]), (*biases[:-1], last[1]), names, strict=True), gauge)


def agreeing(fit: Fit, network: CVNetwork, x: np.ndarray, refits: bool) -> None:
    """Refuse a network that gives conformations ``(n, atoms, 3)`` other CVs than the fit, rounding apart.

    Raises
    ------
    ModelError
        ``network()`` of the model is not what its ``cv`` does.
    """
    features, model = exportable(fit)
    with torch.no_grad():
        ours = network(features(torch.as_tensor(x)).cpu().double())[:, : network.latent_dim]
        parameter = next(model.parameters())
        cvs = fit.cv(x) if refits else cv_of(model, torch.as_tensor(x).to(parameter))
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


def _layers(model: HasNetwork) -> tuple[list[tuple[Tensor, Tensor, str]], int]:
    """Affine layers with their activations, successive affine maps made one; and the number of CVs."""
    modules = list(_flat(model.network()))
    gaussian = isinstance(modules[-1], nets.ConditionalGaussian)
    layers: list[tuple[Tensor, Tensor, str]] = []
    weight = bias = None
    for module in modules[: -1 if gaussian else None]:
        if type(module) in _NAMES:
            if weight is None or bias is None:
                raise ModelError(f"{type(model).__name__}.network() has an activation that no affine layer precedes")
            layers.append((weight, bias, _NAMES[type(module)]))
            weight = bias = None
            continue
        w, b = _affine(module, type(model).__name__)
        weight, bias = (w, b) if weight is None or bias is None else (w @ weight, w @ bias + b)
    if weight is None or bias is None:
        raise ModelError(f"{type(model).__name__}.network() must end with an affine layer")
    layers.append((weight, bias, _LINEAR))
    for (_, bias, _), (weight, _, _) in pairwise(layers):
        if weight.shape[1] != len(bias):
            raise ModelError(f"{type(model).__name__}.network(): {len(bias)} outputs meet {weight.shape[1]} inputs")
    return layers, len(layers[-1][1]) // (2 if gaussian else 1)


def _flat(modules: Iterable[Any]) -> Iterator[Any]:
    """Modules one after the other; a Gaussian is its network, with itself behind it to tell."""
    for module in modules:
        if isinstance(module, nn.Sequential):
            yield from _flat(module)
        elif isinstance(module, nets.ConditionalGaussian) and module.lower is None:
            yield from _flat(module.net)
            yield module
        else:
            yield module


def _affine(module: Any, name: str) -> tuple[Tensor, Tensor]:
    """Weight ``(outputs, inputs)`` and bias of an affine module, float64."""
    values = {k: v.detach().cpu().double() for k, v in (*module.named_parameters(), *module.named_buffers())}
    if isinstance(module, nets.Standardise):
        return torch.diag(1 / values["width"]), -values["mean"] / values["width"]
    if isinstance(module, nets.Whiten):
        return values["matrix"].T, -values["mean"] @ values["matrix"]
    if isinstance(module, nn.Linear):
        weight = values["weight"]
        return weight, values.get("bias", weight.new_zeros(len(weight)))
    raise ModelError(
        f"{name}.network() has a {type(module).__name__}, which cannot be exported; there are Linear, Standardise, "
        f"Whiten, MLP, ConditionalGaussian and the activations {', '.join(nets.ACTIVATIONS)}"
    )
