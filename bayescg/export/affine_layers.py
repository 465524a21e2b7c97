"""Modules that follow each other as affine layers with activations between them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn

from bayescg import nets
from bayescg.errors import ModelError
from bayescg.modelling.model import HasNetwork

__all__ = ["layers_of"]

_NAMES = {kind: name for name, kind in nets.ACTIVATIONS.items()}


def layers_of(model: HasNetwork) -> tuple[list[tuple[Tensor, Tensor, str]], int]:
    """Layers ``(weight, bias, activation)`` of a model's CVs, successive affine maps made one; and how many CVs.

    A Gaussian's layers end in the numbers of means and widths alike.

    Raises
    ------
    ModelError
        ``network()`` has a module that is none of those, or two that do not fit.
    """
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
    layers.append((weight, bias, "linear"))
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
    if isinstance(module, nets.RitzModes):
        return values["coefficients"].T, -values["centre"] @ values["coefficients"]
    if isinstance(weight := getattr(module, "weight", None), Tensor) and weight.dim() == 2:
        weight = weight.detach().cpu().double()
        return weight, values.get("bias", weight.new_zeros(len(weight)))
    raise ModelError(
        f"{name}.network() has a {type(module).__name__}, which cannot be exported; there are Linear, Standardise, "
        f"Whiten, MLP, ConditionalGaussian, RitzModes and the activations {', '.join(nets.ACTIVATIONS)}"
    )
