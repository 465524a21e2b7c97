"""Independent draws of analytic potentials: exact populations and moments, in any dimension."""

import numpy as np
import pytest
import torch

from bayescg import systems, truth
from bayescg.errors import ConfigError
from bayescg.sampling import equilibrium
from bayescg.sampling.independent import _MARGIN
from bayescg.systems import CurvedWell, DoubleWell, GaussianMixture, ManyWell32, MuellerBrown5D, Prinz, ThreeWellRing

DRAWS = 100_000


def z_score(values, exact):
    values = np.asarray(values, dtype=np.float64)
    return (values.mean() - exact) / (values.std() / np.sqrt(len(values)))


@pytest.mark.parametrize(
    ("system", "observable"),
    [
        (DoubleWell(), lambda x: x[:, 0]),
        (DoubleWell(temperature_kT=3.0), lambda x: x[:, 1] ** 2),
        (Prinz(), lambda x: x[:, 0] ** 3),
        (CurvedWell(), lambda x: x[:, 1]),
        (ThreeWellRing(dim=5), lambda x: x[:, 0]),
        (ManyWell32(), lambda x: x[:, 6]),
        (MuellerBrown5D("shallow"), lambda x: (x[:, 2] ** 2 + x[:, 3] ** 2).sqrt()),
    ],
    ids=lambda value: type(value).__name__,
)
def test_moments_are_exact(system, observable):
    frames = equilibrium(system, DRAWS, seed=1)
    x = torch.as_tensor(frames.positions)
    assert abs(z_score(observable(x), float(truth.expectation(system, observable)))) < 4
    assert frames.order is None
    assert frames.energy is not None
    assert np.allclose(frames.energy, system.energy(x).numpy(), rtol=1e-5, atol=1e-4)


def test_forty_gaussians():
    mixture = GaussianMixture()
    x = equilibrium(mixture, 5000, seed=3).positions
    assert abs(z_score(x[:, 0], float(mixture.means[:, 0].mean()))) < 4
    variance = float(mixture.means[:, 1].var(correction=0)) + np.log(1 + np.e) ** 2
    assert abs(z_score((x[:, 1] - float(mixture.means[:, 1].mean())) ** 2, variance)) < 4


def test_the_small_well_has_its_share():
    inside = equilibrium(DoubleWell(), DRAWS, seed=2).positions[:, 0] < 0.16745
    assert abs(z_score(inside, 0.991654)) < 4


@pytest.mark.parametrize(
    "name", ["DoubleWell", "Prinz", "CurvedWell", "ThreeWellRing", "GaussianMixture", "MuellerBrown5D"]
)
def test_the_bound_of_the_rejection_holds(name):
    for part in getattr(systems, name)().parts:
        low, high = torch.tensor(part.system.box).T.double()
        x = low + (high - low) * torch.rand((2**18, len(low)), dtype=torch.float64)
        values = part.system.log_prob(x)
        bound, best = values.max(), x[values.topk(20).indices]
        width = (high - low) / 2000
        for _ in range(30):  # uphill from the best points, by random steps that shrink
            trial = best + width * torch.randn((200, *best.shape), dtype=torch.float64)
            trial = torch.minimum(torch.maximum(trial, low), high)
            value = part.system.log_prob(trial.flatten(0, 1)).view(200, -1)
            better = trial.gather(0, value.argmax(0)[None, :, None].expand(1, -1, len(low)))[0]
            rises = value.max(0).values > part.system.log_prob(best)
            best, width = torch.where(rises[:, None], better, best), 0.8 * width
        assert part.system.log_prob(best).max() < bound + _MARGIN


def test_only_analytic_potentials_can_be_drawn_from():
    with pytest.raises(ConfigError, match="where its probability lies"):
        equilibrium(systems.from_function(lambda x: x[:, 0] ** 2, dim=1), 10)
    with pytest.raises(ConfigError, match="draws=0"):
        equilibrium(DoubleWell(), 0)
