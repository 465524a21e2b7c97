"""Committors of the shallow potential of Müller and Brown, learned from shots, beside the finite-volume solution."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

import bayescg as bcg
from bayescg.analysis import commitment_probabilities, reliability
from bayescg.data import Frames
from bayescg.features.interface import Features, register
from bayescg.models import MultitaskCV

pytestmark = pytest.mark.slow
SYSTEM = bcg.systems.MuellerBrown5D("shallow")


@register
class Radii(Features):
    """X and Y, on which the energy depends."""

    def __init__(self) -> None:
        super().__init__(size=2, atoms=None)

    def forward(self, x: Tensor) -> Tensor:
        return torch.stack([x[..., :2].norm(dim=-1), x[..., 2:4].norm(dim=-1)], -1)

    @property
    def names(self) -> list[str]:
        return ["X", "Y"]

    def config(self) -> dict[str, Any]:
        return {"type": "Radii"}


def disc(*centre: float) -> Callable[[Tensor], Tensor]:
    return lambda x: (Radii()(x) - x.new_tensor(centre)).norm(dim=-1) < 3.0


REGIONS = {"A": disc(23.07, 31.07), "B": disc(41.98, 8.45)}


def shots(n: int, seed: int) -> Frames:
    starts = bcg.sampling.flattened(SYSTEM, n, dt=1.0, ceiling=14.0, seed=seed)
    return bcg.sampling.commitment(SYSTEM, starts, REGIONS, shots=20, dt=1.0, seed=seed)


@pytest.fixture(scope="module")
def data():
    """Shots to learn from, fresh ones, points below 12 kT, evenly over (X, Y), and the exact committor there."""
    grid = torch.cartesian_prod(torch.linspace(2, 60, 117), torch.linspace(2, 50, 97))
    points = torch.zeros(len(grid), 5)
    points[:, 0], points[:, 2] = grid.T
    energy = SYSTEM.energy(points) / SYSTEM.kT
    points = points[energy < energy.min() + 12.0]
    exact = bcg.truth.committor(SYSTEM, *REGIONS.values(), cells=80_000)(points).numpy()
    return shots(600, 0), shots(150, 1), points, exact


@pytest.mark.parametrize(
    ("model", "largest"),
    [(MultitaskCV(Radii()), 0.05), (MultitaskCV(Radii(), latent_dim=1, tasks=["commitments"]), 0.03)],
    ids=["with energies", "alone"],
)
def test_committors_are_right_and_know_how_well(data, model, largest):
    learned, fresh, points, exact = data
    fit = bcg.fit(model, learned, members=10, seed=0)
    q = commitment_probabilities(fit, points)[..., 1]
    assert np.sqrt(np.square(q.mean(0) - exact).mean()) < largest
    between = (exact > 0.05) & (exact < 0.95)
    spread, error = q[:, between].std(0, ddof=1), (q.mean(0) - exact)[between]
    assert 0.6 < np.sqrt(np.square(spread).mean() / np.square(error).mean()) < 1.7
    found = reliability(fit, fresh)
    assert found.calibration_error < 3 * found.expected_error
    assert found.log_score > found.log_score_constant + 0.2
