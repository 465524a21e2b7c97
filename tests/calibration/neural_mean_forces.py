"""Potentials of mean force of the rippled well by a network, whose error bars leave out what they must not."""

from dataclasses import replace
from functools import partial
from typing import Any
from unittest.mock import patch

import torch

import bayescg as bcg
from bayescg.analysis import Quantity
from bayescg.experiments import Row
from bayescg.inference.uncertainty import Posterior
from bayescg.models import ForceMatchingPotential
from tests.calibration import mean_forces

LAST = "correction.4."
FITTED = {"batch_size": 400, "validation": 0.0, "compile": "inductor", "progress": False}
LONG, SHORT = {"steps": 3000, "learning_rate": 1e-2}, {"steps": 1000, "learning_rate": 2e-2}


def fitted(seed: int, uncertainty: str) -> Any:
    """To 400 independent frames; 20 000 steps move the answers by a tenth of their standard deviations."""
    how: dict[str, Any] = {**FITTED, **(LONG if uncertainty == "laplace" else SHORT)}
    model = ForceMatchingPotential(hidden=(24, 24), noise="constant")
    frames = mean_forces.independent(seed, 400)
    return bcg.fit(model, frames, uncertainty=uncertainty, seed=seed, **how)


def network(seed: int, uncertainty: str) -> dict[str, Quantity]:
    return mean_forces.quantities(fitted(seed, uncertainty))


def of_last_layer(weights: Posterior) -> Posterior:
    """A Laplace posterior of the last layer, all other weights held at their trained values."""
    rows = torch.cat([torch.full((weights.point[n].numel(),), n.startswith(LAST)) for n in weights.names])
    sd, basis, shrink = (weights.tensors[k].double() for k in ("sd", "basis", "shrink"))
    root = basis[rows] * ((1 - shrink) ** -2 - 1).sqrt()
    values, axes = torch.linalg.eigh(root @ root.T)
    tensors = {"sd": sd[rows], "basis": axes, "shrink": 1 - (1 + values.clamp_min(0.0)).rsqrt()}
    names = tuple(n for n in weights.names if n.startswith(LAST))
    return replace(weights, names=names, tensors={k: v.float() for k, v in tensors.items()})


def last_layer(seed: int) -> dict[str, Quantity]:
    fit = fitted(seed, "laplace")
    fit.weights = of_last_layer(fit.weights)
    return mean_forces.quantities(fit)


def seeds_alone(seed: int) -> dict[str, Quantity]:
    """Refits to the same frames from other initial weights: they agree on what the noise has made of the curve."""
    alike = lambda blocks, members, *_: torch.ones(members, len(blocks))  # noqa: E731
    with patch("bayescg.inference.training_data.block_weights", alike):
        return network(seed, "ensemble")


ROWS = [
    Row(
        f"neural-mean-forces-{uncertainty}",
        f"potential of mean force from forces of 400 independent frames, network, {uncertainty}; control: {wrong}",
        partial(network, uncertainty=uncertainty),
        mean_forces.truth,
        control,
    )
    for uncertainty, control, wrong in (
        ("laplace", last_layer, "the last layer alone is uncertain"),
        ("bootstrap", seeds_alone, "refits differ in their first weights alone"),
    )
]
