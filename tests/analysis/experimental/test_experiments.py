"""Ensembles of simulation and experiment against quadrature, and what they refuse."""

from typing import Any

import numpy as np
import pytest
import scipy.stats
import torch
from scipy.optimize import minimize
from scipy.special import ive

import bayescg as bcg
from bayescg.analysis import experiments, maximum_entropy
from bayescg.analysis.experimental.force_field_error import LENGTHS, SCALE
from bayescg.data import Frames
from bayescg.errors import ConfigError, DataError


def first(x: torch.Tensor) -> torch.Tensor:
    return x[:, 0]


def frames_of(x: np.ndarray, **more: Any) -> Frames:
    return Frames.from_numpy(x[:, None], unit="reduced", temperature_kT=1.0, **more)


TWO = frames_of(np.random.default_rng(0).permutation(np.repeat([-1.0, 1.0], [16_000, 4000])))
"""Four of five frames at -1, the others at 1; without an order."""


def variance_of_the_difference(length: np.ndarray) -> np.ndarray:
    """Of g(1) - g(-1) over s^2: only odd cosines differ, at the centres of the outer ones of 36 cells."""
    j = np.arange(1, 13, 2)
    wave = 2 * np.cos(j * np.pi * 0.5 / 36)
    return (2 * ive(j, length[:, None] ** -2.0) * wave**2).sum(1)


def test_the_posterior_is_that_of_quadrature():
    """The mean of two places, measured as .2 +- .1 where the simulation has -.6."""
    ensemble = experiments(TWO, {"mean": (0.2, 0.1)}, {"mean": first}, first, draws=1000, steps=100)
    s = np.linspace(1e-3, 5 * SCALE, 400)
    length = np.linspace(*LENGTHS, 30)
    difference = np.linspace(-12, 12, 2001)
    sd = s[:, None] * variance_of_the_difference(length) ** 0.5
    prior = np.zeros_like(difference)
    for row, weight in zip(sd, np.exp(-0.5 * (s / SCALE) ** 2), strict=True):
        prior += weight * (scipy.stats.norm.pdf(difference[:, None] / row) / row).sum(1)
    right = 0.2 * np.exp(-difference) / (0.8 + 0.2 * np.exp(-difference))
    density = prior * scipy.stats.norm.pdf((0.2 - (2 * right - 1)) / 0.1)
    density /= density.sum()
    mean = float(density @ right)
    exact_sd = float((density @ (right - mean) ** 2) ** 0.5)
    found = ensemble.average(lambda x: x[:, 0] > 0)
    assert found.mean == pytest.approx(mean, abs=4 * exact_sd / 1000**0.5)
    assert found.sd == pytest.approx(exact_sd, rel=4 / 2000**0.5)
    assert (found.sd_by_source["parameter"] or 0) > 3 * (found.sd_by_source["sampling"] or 0)
    weights, right = np.asarray(ensemble.frames.weights, dtype=float), TWO.positions[:, 0] > 0
    assert weights[right].sum() / weights.sum() == pytest.approx(found.mean, abs=1e-3)
    assert ensemble.error.mean() == pytest.approx(0, abs=2)
    assert not ensemble.warnings


def test_data_that_say_nothing_leave_the_prior():
    """The error's spread between the two places is the prior's, by Kolmogorov and Smirnov at 0.1 %."""
    ensemble = experiments(TWO, {"mean": (0.2, 1e4)}, {"mean": first}, first, draws=1000, steps=50)
    g = ensemble.error.values[:, -1] - ensemble.error.values[:, 0]
    rng = np.random.default_rng(1)
    s, length = SCALE * np.abs(rng.normal(size=20_000)), rng.uniform(*LENGTHS, 20_000)
    prior = s * variance_of_the_difference(length) ** 0.5 * rng.normal(size=20_000)
    test: Any = scipy.stats.ks_2samp(g, prior)
    assert test.pvalue > 1e-3


def test_a_wrong_forward_model_is_known_by_its_noise():
    """Six couplings of which two are 1.5 Hz off: no ensemble explains them, and the forward model's error says so."""
    rng = np.random.default_rng(0)
    angle = rng.vonmises(-1.2, 4.0, 20_000)
    top, _ = bcg.systems.peptide("ACE-ALA-NME")
    model = bcg.features.karplus(top)

    class Turned(bcg.features.ForwardModel):
        unit, error = "Hz", 0.36

        @property
        def names(self):
            return [f"J{k}" for k in range(6)]

        def forward(self, x):
            a, b, c, *_ = model.parameters_
            turned = torch.cos(x[:, :1] + torch.linspace(0, 5, 6))
            return a * turned**2 + b * turned + c

    curves = Turned(6, None)
    exact = curves(torch.as_tensor(angle)[:, None]).mean(0)
    noises = []
    for off in (0.0, 1.5):
        data = {f"J{k}": (float(exact[k]) + off * (-1) ** k * (k < 2), 0.1) for k in range(6)}
        ensemble = experiments(frames_of(angle), data, curves, first, periodic=True, draws=60, steps=100)
        noises.append(float(np.median(ensemble.noise["J0"])))
    assert noises[0] < 0.2 < 0.5 < noises[1]


def test_a_common_factor_is_learned():
    rng = np.random.default_rng(0)
    x = rng.normal(size=20_000)
    forward = {"mean square": lambda x: x[:, 0] ** 2, "fourth": lambda x: x[:, 0] ** 4}
    # one factor for each of them here: what is measured then says nothing of the ensemble
    data = {"mean square": (1.5, 0.01), "fourth": (6.0, 0.05)}
    free = experiments(frames_of(x), data, forward, first, scale=True, draws=60, steps=100)
    tied = experiments(frames_of(x), data, forward, first, draws=60, steps=100)
    square = lambda x: x[:, 0] ** 2  # noqa: E731
    assert free.average(square).sd > 3 * tied.average(square).sd
    assert tied.average(square).mean == pytest.approx(1.5, abs=0.05)


def test_correlated_frames_make_a_sampling_error():
    """Sixteen trajectories that stay where they began: the simulation's own odds are hardly known."""
    place = np.repeat(np.random.default_rng(2).choice([-1.0, 1.0], 16), 500)
    frames = frames_of(place, dt=1.0, trajectory=np.repeat(np.arange(16), 500))
    ensemble = experiments(frames, {"mean": (0.0, 1e4)}, {"mean": first}, first, draws=200, steps=20)
    alone = bcg.analysis.average(place, frames, 200, 0, "")
    assert ensemble.data[0].simulated.sd == pytest.approx(alone.sd, rel=0.1)
    assert (ensemble.average(first).sd_by_source["sampling"] or 0) > 0.05


def test_the_dual_is_the_direct_minimum():
    rng = np.random.default_rng(0)
    x = rng.normal(size=50)
    forward = {"mean": first, "square": lambda x: x[:, 0] ** 2}
    data, theta = {"mean": (0.5, 0.2), "square": (1.5, 0.3)}, 0.7
    seen = np.stack([x, x**2], 1)

    def primal(z):
        w = np.exp(z - z.max())
        w /= w.sum()
        chi2 = sum(((w @ seen[:, k] - v) / s) ** 2 for k, (v, s) in enumerate(data.values()))
        return 0.5 * chi2 + theta * float(w @ np.log(50 * w))

    direct = minimize(primal, np.zeros(50), method="BFGS", options={"gtol": 1e-9}).x
    direct = np.exp(direct - direct.max())
    near = np.asarray(maximum_entropy(frames_of(x), data, forward, theta).weights, dtype=float)
    np.testing.assert_allclose(near / near.sum(), direct / direct.sum(), atol=1e-6)


def test_data_beyond_the_simulation_are_told():
    ensemble = experiments(TWO, {"mean": (7.0, 0.1)}, {"mean": first}, first, draws=50, steps=50)
    assert ensemble.average(first).ci90 is None
    assert any("mean = 7" in text and "outside what any frame gives, -1 to 1" in text for text in ensemble.warnings)


def test_a_region_that_was_hardly_entered_has_no_population():
    ensemble = experiments(TWO, {"mean": (0.2, 0.1)}, {"mean": first}, first, draws=50, steps=20)
    for beyond, entered in ((3.0, 0), (-3.0, 20_000)):
        population = ensemble.average(lambda x, beyond=beyond: x[:, 0] > beyond)
        assert population.visits == (entered, 20_000 - entered)
        assert population.ci90 is None
        assert "entered 0 times" in str(population.warning)


def test_averages_of_few_frames_stay_among_their_values():
    few = frames_of(np.random.default_rng(0).normal(size=40))
    ensemble = experiments(few, {"mean": (0.0, 0.5)}, {"mean": first}, first, draws=200, steps=20)
    population = ensemble.average(lambda x: x[:, 0] > 0.8)
    assert population.draws.min() >= 0
    fewer = frames_of(np.random.default_rng(0).normal(size=9))
    ensemble = experiments(fewer, {"mean": (0.0, 0.5)}, {"mean": first}, first, draws=50, steps=20)
    assert "independent frames" in str(ensemble.average(first).warning)


def test_data_that_contradict_each_other_are_told():
    data, both = {"mean": (0.0, 0.05), "again": (0.8, 0.05)}, {"mean": first, "again": first}
    ensemble = experiments(TWO, data, both, first, draws=50, steps=100)
    assert [text.split()[0] for text in ensemble.warnings if "far from what is measured" in text] == ["mean", "again"]


def test_an_ensemble_of_few_frames_has_no_interval():
    rng = np.random.default_rng(0)
    x = np.r_[rng.normal(-1, 0.1, 20_000), rng.normal(1, 0.1, 60)]
    ensemble = experiments(frames_of(x), {"mean": (0.95, 0.02)}, {"mean": first}, first, draws=50, steps=200)
    assert ensemble.effective < 0.05
    assert ensemble.average(first).ci90 is None
    assert any("hardly overlap" in text for text in ensemble.warnings)
    assert "hardly overlap" in repr(ensemble)


@pytest.mark.parametrize(
    ("data", "forward", "message"),
    [
        ({"mean": (0.2, 0.0)}, {"mean": first}, "standard deviation, which is above 0"),
        ({"mean": 0.2}, {"mean": first}, "give its value and its standard deviation"),
        ({"mean": (float("nan"), 0.1)}, {"mean": first}, "give its value and its standard deviation"),
        ({}, {"mean": first}, "at least one"),
        ({"3J": (6.0, 0.3)}, {"mean": first}, "no forward model has an observable '3J'"),
        ({"mean": (0.2, 0.1)}, first, "forward is a function; give what bcg.features.karplus, noe or pre return"),
    ],
)
def test_what_is_no_datum_is_refused(data, forward, message):
    with pytest.raises(ConfigError, match=message):
        experiments(TWO, data, forward, first)


def test_numbers_that_are_not_of_the_frames_are_refused():
    with pytest.raises(DataError, match=r"shape \(3,\) for 20000 frames"):
        experiments(TWO, {"mean": (0.2, 0.1)}, {"mean": np.zeros(3)}, first)


def test_a_periodic_cv_in_degrees_is_refused():
    with pytest.raises(ConfigError, match="a periodic CV is in radians, and here reaches 100"):
        experiments(TWO, {"mean": (0.2, 0.1)}, {"mean": first}, lambda x: 100 * x[:, 0], periodic=True)


def test_a_name_may_leave_out_the_residue_where_there_is_one():
    top, start = bcg.systems.peptide("ACE-ALA-GLY-NME")
    x = np.array(start._value) + 0.02 * np.random.default_rng(0).normal(size=(400, top.getNumAtoms(), 3))
    frames = Frames.from_numpy(x, unit="nm", temperature=300.0, topology=top)
    model = bcg.features.karplus(top), bcg.features.karplus(top, "HN,C")
    ensemble = experiments(frames, {"3J(HN,HA)": (6.0, 0.3)}, model, "phi ALA-2", draws=50, steps=20)
    assert ensemble.data[0].unit == "Hz"
    assert ensemble.error.shape == (50, 36)
    with pytest.raises(ConfigError, match=r"several forward models have an observable '3J\(HN,C\)'; there are"):
        experiments(frames, {"3J(HN,C)": (1.0, 0.3)}, model, "phi ALA-2")
    with pytest.raises(ConfigError, match="NOEs and relaxation rates are not"):
        maximum_entropy(frames, {"NOE(CA 9, C 15)": (0.2, 0.1)}, bcg.features.noe(top, [(8, 14)]), 1.0)
