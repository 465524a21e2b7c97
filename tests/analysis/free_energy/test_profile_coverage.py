"""Bands of a profile know what few frames or weights cannot tell; tests/calibration counts how often they hold."""

import numpy as np
import pytest
import torch

import bayescg as bcg
from bayescg.analysis import free_energy, reweighted
from bayescg.data import Frames
from bayescg.errors import DataError
from bayescg.inference import reweighting
from bayescg.models import EmbeddedPhysics

EDGES = np.linspace(-3.2, 3.2, 41)


def first(x: torch.Tensor) -> torch.Tensor:
    return x[:, 0]


def trained(seed: int, steps: int = 600, batch_size: int = 256) -> bcg.Fit:
    """Cheap: the weights of its draws have much to do."""
    model = EmbeddedPhysics(bcg.systems.DoubleWell(), hidden=(16,))
    return bcg.fit(
        model, steps=steps, batch_size=batch_size, learning_rate=5e-3, compile="trace", seed=seed, progress=False
    )


@pytest.fixture(scope="module")
def exact() -> np.ndarray:
    return bcg.truth.free_energy(bcg.systems.DoubleWell(), first, bins=EDGES, cells=20_000).profile.values


@pytest.fixture(scope="module")
def cheap() -> bcg.Fit:
    return trained(0)


def shares(fit: bcg.Fit, exact: np.ndarray, samples: int, seed: int) -> tuple[float, float, int]:
    """Of the bins with a band, but for the lowest, which is zero: whose band holds the truth, halved, and how many."""
    fes = free_energy(fit, reweighted(fit, samples, seed), cv=first, bins=40, range=(-3.2, 3.2), seed=seed)
    low, high = fes.band.values
    zero = int(np.nanargmin(fes.mean.values))
    told = np.isfinite(low) & np.isfinite(high) & (np.arange(40) != zero)
    off = np.abs(exact - exact[zero] - (low + high) / 2)[told] / (high - low)[told]
    return float((off < 0.5).mean()), float((off < 0.25).mean()), int(told.sum())


def mean_and_error(values: np.ndarray) -> tuple[float, float]:
    return float(values.mean()), float(values.std(ddof=1) / len(values) ** 0.5)


@pytest.mark.slow  # a control of a row of the calibration table
def test_weights_of_the_joint_density_do_not(
    cheap: bcg.Fit, exact: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is missing among few, large weights no bootstrap knows; but bins that show it say that they do not know."""
    monkeypatch.setattr(reweighting, "PARTICLES", 1)
    found = np.array([shares(cheap, exact, 20_000, seed) for seed in range(6)])
    share, error = mean_and_error(found[:, 0])
    assert share < 0.9 - 3 * error  # with PARTICLES as they are: a row of the calibration table
    fes = free_energy(cheap, reweighted(cheap, 20_000), cv=first, bins=40, range=(-3.2, 3.2))
    assert any("no band for first from" in w and "draw more" in w for w in fes.warnings)


@pytest.mark.slow
def test_bands_hold_the_exact_profile_of_every_fit(exact: np.ndarray) -> None:
    """Twenty fits, each from a seed of its own.

    Six lose the right well, have no bands there, and hold a little less of the rest: four fifths of the bins.
    """
    found = np.array([shares(trained(seed), exact, 50_000, seed) for seed in range(20)])
    kept = found[found[:, 2] > 35]
    assert len(kept) > 10
    share, error = mean_and_error(kept[:, 0])
    assert abs(share - 0.9) < 3 * error
    halved, error = mean_and_error(kept[:, 1])
    assert halved < 0.9 - 5 * error
    share, error = mean_and_error(found[:, 0])
    assert abs(share - 0.9) < 3 * error


def frames(x: np.ndarray, weights: np.ndarray | None = None, dt: float | None = None) -> Frames:
    return Frames.from_numpy(x[:, None], unit="reduced", temperature_kT=1.0, weights=weights, dt=dt)


def test_few_frames_between_wells_are_told() -> None:
    """Two wells and four frames on the barrier: no band there; nothing is said of the ends, where frames run out."""
    random = np.random.default_rng(0)
    x = np.r_[random.normal(-2, 0.3, 5000), random.normal(2, 0.3, 5000), [-0.35, -0.1, 0.1, 0.3]]
    random.shuffle(x)
    fes = free_energy(None, frames(x), cv=first, bins=20, range=(-4, 4))
    (told,) = fes.warnings
    assert "no band for first from" in told
    assert told.endswith("more frames are needed")
    low, high = fes.band.values
    assert np.isnan(low[fes.effective.values < 10]).all()
    assert np.isfinite(high[fes.effective.values >= 10]).all()
    assert np.isfinite(fes.mean.values[9])  # the estimate itself stays


def test_a_region_that_hangs_on_few_weights_has_no_interval() -> None:
    random = np.random.default_rng(0)
    x = random.normal(size=4000)
    weights = np.where(x > 1, random.pareto(0.3, 4000), 1.0)
    found = free_energy(None, frames(x, weights), cv=first).difference((-9, 0), (1, 9))
    assert found.ci90 is None
    assert "effective frames in 1 to 9" in str(found.warning)
    assert min(found.visits) > 500


def test_visits_not_frames_count_in_time() -> None:
    """A bin that a trajectory enters twice and stays in holds two frames, however often it was written."""
    x = np.concatenate([np.repeat([-1.0, 1.0] * 20, 5), np.full(500, 3.0), np.repeat([-1.0, 1.0] * 20, 5)])
    fes = free_energy(None, frames(x, dt=1.0), cv=first, bins=4, range=(-2, 4))
    assert fes.effective.values.tolist() == [40.0, 0.0, 40.0, 1.0]


def test_two_refits_are_too_few() -> None:
    model = EmbeddedPhysics(bcg.systems.Harmonic((1.0,)), hidden=(4,), components=2)
    fit = bcg.fit(
        model, steps=20, batch_size=32, uncertainty="ensemble", members=2, compile="off", seed=0, progress=False
    )
    with pytest.raises(DataError, match="only 2 refits"):
        free_energy(fit, reweighted(fit, 1000), cv=first)
