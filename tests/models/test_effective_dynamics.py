"""Effective dynamics: an exact propagator, a fit that finds what made the frames, and lags that disagree."""

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

import bayescg as bcg
from bayescg import nets
from bayescg.analysis import DiffusionDraws, compare, effective_dynamics, flat_from
from bayescg.data import Bias, Frames
from bayescg.errors import ConfigError, DataError, ModelError
from bayescg.models import EffectiveDynamics


def spring(n=20_000, dt=0.2, chains=20, seed=0):
    """Trajectories (chains, n / chains) of dz = -z dt + sqrt(2) dW: timescales 1, 1/2, ..."""
    rng, keep = np.random.default_rng(seed), np.exp(-dt)
    z = rng.normal(size=chains)
    out = [z]
    for _ in range(n // chains - 1):
        out.append(keep * out[-1] + np.sqrt(1 - keep**2) * rng.normal(size=chains))
    return np.stack(out, 1)


PLANE = Frames.from_numpy(np.zeros((9, 2)), unit="reduced", dt=1.0, temperature_kT=1.0)


def frames_of(z, dt=0.2, **more):
    number = np.repeat(np.arange(len(z)), z.shape[1])
    settings = {"unit": "reduced", "dt": dt, "temperature_kT": 1.0} | more
    return Frames.from_numpy(z.reshape(-1, 1), trajectory=number, **settings)


@pytest.fixture(scope="module")
def fit():
    return bcg.fit(EffectiveDynamics(), frames_of(spring()).lagged(0.2), progress=False)


@pytest.fixture(scope="module")
def found(fit):
    return effective_dynamics(fit, modes=2)


def error_of_spring(cells, lag=0.3):
    """Of the propagator, from the exact Gaussian."""
    width = 12.0 / cells
    z = -6.0 + width * (torch.arange(cells, dtype=torch.float64) + 0.5)
    ones = torch.ones(cells - 1, dtype=torch.float64)
    density = nets.log_propagator(0.5 * z**2, ones, width, False, lag).exp() / width
    keep = float(np.exp(-lag))
    exact = torch.distributions.Normal(keep * z[:, None], (1 - keep**2) ** 0.5).log_prob(z).exp()
    inner = z.abs() < 3
    return float((density - exact)[inner][:, inner].abs().max())


def test_the_propagator_of_a_spring_is_of_second_order():
    coarse, fine = error_of_spring(80), error_of_spring(160)
    assert coarse < 0.03
    assert 3.5 < coarse / fine < 4.5


def test_coarse_cells_do_not_pass_for_diffusion():
    """Cells two thirds of a step wide: rounding to them once made D a tenth too large."""
    frames, model = frames_of(spring(dt=0.02), dt=0.02), EffectiveDynamics(cells=60, low=-4.0, high=4.0)
    found = effective_dynamics(bcg.fit(model, frames.lagged(0.02), progress=False), 100)
    assert abs(found.quantities["mean_diffusion"].mean - 1) < 0.05


def test_the_propagator_goes_around_a_circle():
    n, lag = 120, 0.4
    width = 2 * np.pi / n
    p = nets.log_propagator(torch.zeros(n).double(), torch.ones(n).double(), width, True, lag).exp()
    turns = torch.arange(-3, 4) * 2 * np.pi
    z = torch.arange(n).double() * width
    exact = torch.distributions.Normal(turns, (2 * lag) ** 0.5).log_prob(z[:, None]).exp().sum(1) * width
    assert torch.allclose(p[0], exact, atol=2e-5)
    assert torch.allclose(p.sum(1), torch.ones(n).double())


def test_the_propagator_is_in_detailed_balance():
    generator = torch.Generator().manual_seed(0)
    energy, diffusion = (torch.rand(n, generator=generator, dtype=torch.float64) for n in (30, 29))
    flow = (-energy).softmax(0)[:, None] * nets.log_propagator(energy, diffusion + 0.5, 0.2, False, 0.5).exp()
    assert torch.allclose(flow, flow.T, atol=1e-12)


@pytest.mark.parametrize(("periodic", "order"), [(False, 2), (False, 3), (True, 2)])
def test_a_smooth_function_has_the_same_prior_for_any_number_of_knots(periodic, order):
    """Where the data say nothing, the spread of its values at equal places, constant and line apart."""
    z = torch.linspace(0, 1, 21, dtype=torch.float64)[:-1]
    spreads = []
    for knots in (24, 48):
        f = nets.SmoothFunction(knots, order, 50.0, periodic)
        values = f.basis(z)
        line = z[:, None] ** torch.arange(1 if periodic else order)
        rest = values - line @ torch.linalg.lstsq(line, values).solution
        spreads.append(rest.norm())
        if periodic:
            assert torch.allclose(f.basis(torch.zeros(1)), f.basis(torch.ones(1)), atol=1e-6)
    assert spreads[0] == pytest.approx(float(spreads[1]), rel=0.1)


def test_a_spring_is_found(found):
    q = found.quantities
    assert abs(q["timescale_1"].mean - 1.0) < 3 * q["timescale_1"].sd < 0.1
    assert abs(q["timescale_2"].mean - 0.5) < 3 * q["timescale_2"].sd < 0.1
    assert abs(q["mean_diffusion"].mean - 1.0) < 3 * q["mean_diffusion"].sd < 0.1
    half = found.population((-9.0, 0.0))
    assert abs(half.mean - 0.5) < 3 * half.sd
    assert found.told.values.mean() > 0.5


def test_where_all_is_forgotten_within_the_lag_diffusion_has_no_interval():
    """The timescale keeps its own; the data once halved the prior's spread everywhere, and this passed for told."""
    fit = bcg.fit(EffectiveDynamics(), frames_of(spring(4000)).lagged(3.0), progress=False)
    found = effective_dynamics(fit, 100)
    diffusion, slowest = found.quantities["mean_diffusion"], found.quantities["timescale_1"]
    assert not found.told.values.any()
    assert diffusion.ci90 is None
    assert "within a lag of 3 too much is forgotten to tell D where" in str(diffusion.warning)
    assert slowest.ci90 is not None
    assert slowest.ci90[0] < 1.0 < slowest.ci90[1]


def test_passages_and_committors_are_those_of_the_system(found):
    """Of the exact F and D, on the cells of a fit."""
    z = found.free_energy["z"].values
    f, d = 0.5 * z**2 - 0.5 * z.min() ** 2, np.ones(found.diffusion.sizes["border"])
    exact = DiffusionDraws(
        free_energy=found.free_energy[:2].copy(data=np.stack([f, f])),
        diffusion=found.diffusion[:2].copy(data=np.stack([d, d])),
        told=found.told,
        eigenvalues=found.eigenvalues[:2],
        trained=(f, d),
        linear=True,
        lag=0.2,
    )
    system = bcg.systems.Harmonic()
    q = bcg.truth.committor(system, lambda x: x[:, 0] < -1.0, lambda x: x[:, 0] > 1.0)
    middle = np.abs(z) < 0.9
    known = q(torch.as_tensor(z[middle])[:, None]).numpy()
    assert exact.committor((-9.0, -1.0), (1.0, 9.0)).values[0, middle] == pytest.approx(
        known, abs=0.03
    )  # sets are of whole cells
    time = bcg.truth.mean_first_passage_time(system, lambda x: x[:, 0] > 1.0)(torch.tensor([[-1.0]])).item()
    assert exact.passage_time((-1.05, -0.95), (1.0, 9.0)).mean == pytest.approx(time, rel=0.08)


def test_a_fit_is_a_system(fit):
    system = fit.system()
    energy = system.energy(torch.tensor([[-1.0], [0.0], [1.0]]))
    assert float(energy[0] - energy[1]) == pytest.approx(0.5, abs=0.2)
    assert fit.system(draws=3).energy(torch.zeros(3, 2, 1)).shape == (3, 2)


def test_markov_lags_agree_and_noise_on_the_variable_is_noticed():
    z = spring(20_000, dt=0.1, seed=3)
    noisy = z + 0.3 * np.random.default_rng(1).normal(size=z.shape)
    of = lambda z, lag: effective_dynamics(  # noqa: E731
        bcg.fit(EffectiveDynamics(knots=10, cells=60), frames_of(z, 0.1).lagged(lag), progress=False), modes=1
    )
    lags = (0.1, 0.3, 0.6)
    assert flat_from([of(z, lag) for lag in lags]).lag == 0.1
    assert flat_from([of(noisy, lag) for lag in lags]).lag is None
    with pytest.raises(ConfigError, match="three or more"):
        flat_from([of(z, 0.1)])


def test_an_angle_goes_around():
    rng = np.random.default_rng(0)
    angle = np.cumsum(rng.normal(scale=np.sqrt(2 * 0.5 * 0.1), size=(10, 1500)), 1) % (2 * np.pi) - np.pi
    pairs = frames_of(angle, 0.1).lagged(0.1)
    model = EffectiveDynamics(cv=lambda x: x[:, 0], periodic=True, knots=12)
    fit = bcg.fit(model, pairs, progress=False)
    found = effective_dynamics(fit, modes=1)
    d = found.quantities["mean_diffusion"]
    assert abs(d.mean - 0.5) < 3 * d.sd
    assert found.timescales.mean() == pytest.approx(2.0, rel=0.1)  # 1 / D
    assert found.diffusion.sizes["border"] == found.free_energy.sizes["z"]


def test_refits_and_a_fitted_cv():
    half = SimpleNamespace(cv=lambda x: SimpleNamespace(mean=0.5 * x))
    pairs = frames_of(spring(4000)).lagged(0.2)
    settings = {"uncertainty": "bootstrap", "members": 4, "progress": False}
    found = effective_dynamics(bcg.fit(EffectiveDynamics(cv=half, knots=8), pairs, **settings), draws=4)
    assert not found.linear
    assert found.quantities["mean_diffusion"].mean == pytest.approx(0.25, rel=0.2)


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (lambda: PLANE.lagged(1.0), "have 2 coordinates"),
        (lambda: frames_of(np.zeros((1, 9))).lagged(0.2), "the same in all frames"),
        (lambda: frames_of(spring(40), temperature_kT=None).lagged(0.2), "temperature of these frames"),
        (lambda: frames_of(spring(40)), "pairs of frames"),
    ],
    ids=["coordinates", "constant", "temperature", "frames"],
)
def test_frames_that_have_no_dynamics_of_one_variable_are_refused(data, says):
    with pytest.raises(DataError, match=says):
        bcg.fit(EffectiveDynamics(), data(), progress=False)


@pytest.mark.parametrize("shift", [6.0, -100.0, 1e6])
def test_pairs_beyond_the_grid_have_no_density(fit, shift):
    with pytest.raises(DataError, match=r"beyond the range .* of the grid"):
        fit.log_density(frames_of(spring(400, seed=1) + shift).lagged(0.2))


def test_the_tail_of_frames_held_out_has_one(fit):
    z = spring(20_000, seed=1)
    assert fit.log_density(frames_of(z).lagged(0.2)).isfinite().all()
    z[0, 7] = fit.model.high + 0.4  # one frame alone, a little further out than all of the training
    assert fit.log_density(frames_of(z).lagged(0.2)).isfinite().all()
    z[0, 7] = 1e6
    with pytest.raises(DataError, match="of 19980 pairs"):
        fit.log_density(frames_of(z).lagged(0.2))


def test_folds_share_the_range_of_all_frames():
    """Some have frames that lie beyond all others."""
    frames = frames_of(spring(2000, seed=1))
    models = {f"{knots} knots": EffectiveDynamics(knots=knots) for knots in (8, 12)}
    table = compare(models, frames, "log_score", folds=5, lag=0.2)
    keep = np.exp(-0.2)
    assert table["8 knots"].score == pytest.approx(-0.5 * np.log(2 * np.pi * np.e * (1 - keep**2)), abs=0.05)


def test_angles_are_counted_wherever_their_turn_begins():
    z = np.random.default_rng(0).uniform(-np.pi, np.pi, size=(1, 400))
    settings = {"cv": lambda x: x[:, 0], "periodic": True, "knots": 8, "cells": 20}
    counts = []
    for angle in (z, z % (2 * np.pi)):
        model, pairs = EffectiveDynamics(**settings), frames_of(angle).lagged(0.2)
        model.setup(pairs)
        counts.append(model.counts(pairs, torch.ones(len(pairs))))
    assert torch.equal(*counts)


def test_a_fit_along_a_function_is_loaded_with_it_alone(tmp_path):
    """The lag and the grid, which training told, are the fit's."""
    pairs, settings = frames_of(spring(2000)).lagged(0.2), {"cv": lambda x: x[:, 0], "knots": 8}
    fit = bcg.fit(EffectiveDynamics(**settings), pairs, progress=False)
    fit.save(tmp_path)
    with pytest.raises(ConfigError, match="make the model with it again"):
        bcg.Fit.load(tmp_path)
    again = bcg.Fit.load(tmp_path, model=EffectiveDynamics(**settings))
    torch.testing.assert_close(again.log_density(pairs), fit.log_density(pairs), rtol=0, atol=1e-10)


def test_settings_that_make_no_sense_are_refused(fit):
    with pytest.raises(ConfigError, match="diffusion_knots=4 must be"):
        EffectiveDynamics(diffusion_knots=4)
    topology = bcg.systems.peptide("ACE-ALA-NME")[0]
    with pytest.raises(ConfigError, match="of one variable"):
        EffectiveDynamics(bcg.features.torsions(topology))
    with pytest.raises(ConfigError, match="give a fit with one CV"):
        EffectiveDynamics(cv=3)
    with pytest.raises(ConfigError, match="of your own"):
        EffectiveDynamics.from_config({**fit.model.config(), "cv": "function"})
    with pytest.raises(ModelError, match="no parameter uncertainty"):
        effective_dynamics(bcg.fit(fit.model.anew(), frames_of(spring(400)).lagged(0.2), uncertainty="none"))
    with pytest.raises(ConfigError, match="overlap"):
        effective_dynamics(fit, draws=2).committor((-1.0, 0.5), (0.0, 1.0))
    with pytest.raises(ConfigError, match="no cell lies"):
        effective_dynamics(fit, draws=2).population((90.0, 91.0))


def test_a_lag_too_short_for_the_grid_is_told():
    with pytest.warns(UserWarning, match="use a longer lag"):
        EffectiveDynamics(knots=8).setup(frames_of(spring(4000, dt=1e-7), dt=1e-7).lagged(1e-7))


def pulled(centres=(-1.2, 0.0, 1.2), spring=4.0, seed=0, **more):
    """Trajectories of dz = -z dt - spring (z - c) dt + sqrt(2) dW, ten under each spring, by exact steps."""
    rng, keep, dt = np.random.default_rng(seed), np.exp(-(1 + spring) * 0.1), 0.1
    middle, sd = spring * np.repeat(centres, 10) / (1 + spring), (1 + spring) ** -0.5
    z = [middle + sd * rng.normal(size=len(middle))]
    for _ in range(299):
        z.append(middle + keep * (z[-1] - middle) + np.sqrt(1 - keep**2) * sd * rng.normal(size=len(middle)))
    path = np.stack(z, 1)
    window = np.repeat(np.arange(len(centres)), 10 * 300)
    bias = Bias(window, spring / 2 * (path.reshape(-1, 1) - np.array(centres)) ** 2)
    return frames_of(path, dt, bias=bias, **more)


@pytest.fixture(scope="module")
def of_windows():
    return bcg.fit(EffectiveDynamics(knots=10, cells=60), pulled().lagged(0.1), progress=False)


def bend(found):
    """F at -1 and 1 above that at 0, of draws: half a kT of the spring."""
    f = found.free_energy
    return f.sel(z=[-1.0, 1.0], method="nearest").mean("z") - f.sel(z=0.0, method="nearest")


def test_windows_of_umbrella_sampling_say_what_is_without_their_bias(of_windows):
    found = effective_dynamics(of_windows, modes=1)
    q = found.quantities
    assert abs(q["mean_diffusion"].mean - 1) < 3 * q["mean_diffusion"].sd < 0.1
    assert abs(q["timescale_1"].mean - 1) < 3 * q["timescale_1"].sd < 0.5
    apart = found.free_energy.sel(z=1.0, method="nearest") - found.free_energy.sel(z=-1.0, method="nearest")
    assert abs(float(apart.mean())) < 3 * float(apart.std()) < 0.5
    assert abs(float(bend(found).mean()) - 0.5) < 3 * float(bend(found).std()) < 0.5
    assert of_windows.model.bias.shape[1] < 60  # only the cells that a window reaches


def test_biased_pairs_that_pass_for_unbiased_ones_tell_another_free_energy():
    frames = replace(pulled(), bias=None, weights=None)
    found = effective_dynamics(bcg.fit(EffectiveDynamics(knots=10, cells=60), frames.lagged(0.1), progress=False))
    assert abs(float(bend(found).mean()) - 0.5) > 3 * float(bend(found).std())


class Whole(EffectiveDynamics):
    """Every window with all cells."""

    def take_windows(self, data, margin):
        super().take_windows(data, 100.0)


def test_cells_that_a_window_does_not_reach_change_nothing(of_windows):
    """The likelihood of its pairs is the same with all of them."""
    model, pairs = of_windows.model, pulled().lagged(0.1)
    fit: Any = bcg.fit(Whole(knots=10, cells=60), pairs, uncertainty="none", progress=False)
    assert fit.model.bias.shape[1] == 60
    assert torch.allclose(fit.model.energy.weight, model.energy.weight, atol=1e-3)
    assert torch.allclose(fit.log_density(pairs).mean(), of_windows.log_density(pairs).mean(), atol=1e-5)


def test_a_fit_of_windows_is_saved_and_asks_for_pairs_of_these(of_windows, tmp_path):
    pairs = pulled().lagged(0.1)
    of_windows.save(tmp_path)
    again = bcg.Fit.load(tmp_path)
    torch.testing.assert_close(again.log_density(pairs), of_windows.log_density(pairs), rtol=0, atol=1e-10)
    with pytest.raises(DataError, match="of 3 windows of umbrella sampling, these pairs of 2"):
        again.log_density(pulled((-1.0, 1.0)).lagged(0.1))
    with pytest.raises(DataError, match="these pairs of 0"):
        again.log_density(frames_of(spring(400, dt=0.1), 0.1).lagged(0.1))


def test_a_fit_without_windows_scores_no_biased_pairs():
    inside = pulled((0.0,), spring=1.0)
    with pytest.raises(DataError, match="the fit is of pairs that feel no bias"):
        bcg.fit(EffectiveDynamics(), frames_of(spring(400, dt=0.1), 0.1).lagged(0.1)).log_density(inside.lagged(0.1))


def test_pairs_across_an_exchange_and_other_variables_biases_are_refused():
    frames: Any = pulled()
    window = frames.bias.window.copy()
    window[5::7] = (window[5::7] + 1) % 3
    with pytest.raises(DataError, match=r"a replica changed its window: take pairs of frames.segments"):
        bcg.fit(EffectiveDynamics(), replace(frames, bias=Bias(window, frames.bias.energies)).lagged(0.1))
    noise = np.random.default_rng(0).normal(size=frames.bias.energies.shape)
    with pytest.raises(DataError, match="it is along another variable"):
        bcg.fit(EffectiveDynamics(), replace(frames, bias=Bias(frames.bias.window, noise)).lagged(0.1))


def test_umbrella_sampling_with_exchanges_has_pairs_between_them():
    """A barrier of 4 kT that windows lead across: free energy, diffusion and how long the passage takes."""
    well = bcg.systems.QuarticDoubleWell(temperature_kT=0.25)
    starts, along = np.linspace(-1.4, 1.4, 100)[:, None], lambda x: x[:, 0]
    settings = {"dt": 0.002, "starts": starts, "windows": 8, "walkers": 6, "stiffness": 25.0, "progress": False}
    frames = bcg.sampling.umbrella(well, along, 4000, exchange_every=500, stride=50, **settings)
    segments: Any = frames.segments()
    pairs = segments.lagged(0.1)
    assert (segments.bias.window[pairs.i] == segments.bias.window[pairs.j]).all()
    found = effective_dynamics(bcg.fit(EffectiveDynamics(knots=16, cells=80), pairs, progress=False), modes=1)
    q = found.quantities
    assert abs(np.log(q["mean_diffusion"].mean / 0.25)) < 3 * q["mean_diffusion"].sd / 0.25 < 0.3
    time = found.timescales.values[:, 0]
    assert abs(np.log(time).mean() - np.log(33.58)) < 3 * np.log(time).std() < 1.0
    with pytest.raises(DataError, match="no window holds two frames"):
        bcg.sampling.umbrella(well, along, 100, exchange_every=10, stride=50, **settings).segments()
    with pytest.raises(DataError, match=r"of bcg.sampling.umbrella, whole"):
        frames_of(spring(40)).segments()
