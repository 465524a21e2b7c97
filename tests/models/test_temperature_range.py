"""One generator for a range of temperatures: exact answers at several of them, and what must fail."""

from dataclasses import replace
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import torch

import bayescg as bcg
from bayescg.draws import pareto_smoothed
from bayescg.errors import ConfigError, DataError
from bayescg.models import BoltzmannGenerator
from bayescg.systems import DoubleWell, Harmonic, Prinz

KTS = (1.0, 1.4, 2.1, 3.0)
STIFFNESS = (1.0, 4.0, 9.0)


@pytest.fixture(scope="module")
def fitted() -> Any:
    """The paper's double well from kT = 1 to 3, with the default course of a toy."""
    return bcg.fit(BoltzmannGenerator(DoubleWell(), temperatures=(1.0, 3.0)), seed=0, progress=False)


@pytest.fixture(scope="module")
def springs() -> Any:
    model = BoltzmannGenerator(
        Harmonic(STIFFNESS), layers=3, bins=4, hidden=(16,), buffer=2000, temperatures=(1.0, 3.0)
    )
    return bcg.fit(model, steps=400, batch_size=200, seed=0, compile="trace", progress=False)


def exact(kT: float) -> tuple[float, float, float]:
    """log Z, log odds of the left well, and the configurational heat capacity in k of the double well, on a grid."""
    axis = torch.linspace(-12.0, 12.0, 1601, dtype=torch.float64)
    x = torch.cartesian_prod(axis, axis)
    energy = DoubleWell().energy(x)
    weight = (-energy / kT).exp()
    mean = (weight @ energy) / weight.sum()
    left = weight[x[:, 0] < 0].sum()
    log_z = float((weight.sum() * (axis[1] - axis[0]) ** 2).log())
    return (
        log_z,
        float((left / (weight.sum() - left)).log()),
        float(weight @ (energy - mean) ** 2 / weight.sum() / kT**2),
    )


@pytest.mark.parametrize("kT", KTS)
def test_answers_at_each_temperature_are_those_of_quadrature(fitted, kT):
    frames = bcg.analysis.reweighted(fitted, samples=90_000, seed=1, temperature=kT)
    (log_z,), (log_z_sd,), (ess,) = (frames.provenance[name] for name in ("log_z", "log_z_sd", "ess_fraction"))
    true_log_z, true_odds, true_capacity = exact(kT)
    assert frames.kT == pytest.approx(kT)
    assert ess > 0.15  # of draws at nine temperatures from 1 to 3
    assert abs(log_z - true_log_z) < 4 * log_z_sd < 0.02
    landscape = bcg.analysis.free_energy(None, frames, cv=lambda x: x[:, 0])
    odds = landscape.difference((0.0, 12.0), (-12.0, 0.0))
    assert abs(abs(odds.mean) - abs(true_odds)) < 4 * odds.sd < 0.2
    capacity = bcg.analysis.heat_capacity(frames, DoubleWell())
    assert capacity.unit == "k"
    assert abs(capacity.mean - true_capacity) < 4 * capacity.sd < 0.1


def test_draws_of_one_temperature_are_not_those_of_another(fitted):
    model = fitted.model
    with torch.no_grad():
        q = model.density()
        x = q((20_000,))
        weight = (-DoubleWell().energy(x) / 3.0 - q.log_prob(x)).double().softmax(0)
        assert float(1 / weight.square().sum()) / len(x) < 0.3  # where those of kT = 3 count for more than 0.8
        hot, cold, both = (model.density(torch.tensor(beta)).log_prob(x[:2]) for beta in ([1 / 3], [1.0], [1 / 3, 1.0]))
    assert not torch.allclose(hot, cold, atol=0.1)
    torch.testing.assert_close(both, torch.stack([hot[0], cold[1]]))


def test_springs_have_half_of_k_each_at_all_temperatures_by_a_flow(springs):
    for kT in KTS:
        frames = bcg.analysis.reweighted(springs, samples=20_000, seed=1, temperature=kT)
        (log_z,), (log_z_sd,) = frames.provenance["log_z"], frames.provenance["log_z_sd"]
        true_log_z = 0.5 * np.log(2 * np.pi * kT / np.array(STIFFNESS)).sum()
        assert abs(log_z - true_log_z) < 4 * log_z_sd < 0.04
        capacity = bcg.analysis.heat_capacity(frames, springs.model.system)
        assert capacity.ci90 is not None
        assert abs(capacity.mean - 1.5) < 4 * capacity.sd < 0.3


def test_temperatures_outside_of_the_range_are_refused(springs):
    for kT in (0.9, 3.1):
        with pytest.raises(ConfigError, match="outside of the range that the model was trained at"):
            bcg.analysis.reweighted(springs, samples=2000, temperature=kT)


def test_a_temperature_that_the_draws_do_not_reach_has_no_interval(springs):
    """Draws at kT = 1, weighted to 30 as those of a generator of one temperature are."""
    with torch.no_grad():
        q = springs.model.density()
        x = q((2000,))
        log_weight = (springs.model.system.log_prob(x) / 30.0 - q.log_prob(x)).double()
    smoothed, k = pareto_smoothed(log_weight.numpy())
    frames = bcg.data.Frames.from_numpy(
        x.numpy(), unit="reduced", temperature_kT=30.0, weights=np.exp(smoothed - smoothed.max())
    )
    frames = replace(frames, provenance={**frames.provenance, "pareto_k": k})
    capacity = bcg.analysis.heat_capacity(frames, springs.model.system)
    assert np.quantile(capacity.draws, 0.95) < 1.5  # it would be wrong
    assert capacity.ci90 is None
    assert "a range that holds this temperature" in (capacity.warning or "")


def test_weights_of_all_levels_are_those_of_each_where_both_are_right(fitted):
    """Draws at one temperature alone, weighted by its own density: the same log Z, by another way."""
    model = fitted.model
    with torch.no_grad():
        q = model.density(torch.tensor(0.5))
        x = q((30_000,))
        log_weight = (-0.5 * DoubleWell().energy(x) - q.log_prob(x)).double()
    log_z = float(log_weight.logsumexp(0)) - np.log(len(x))
    sd = float((log_weight - log_z).exp().std()) / len(x) ** 0.5
    frames = bcg.analysis.reweighted(fitted, samples=90_000, seed=1, temperature=2.0)
    assert abs(log_z - frames.provenance["log_z"][0]) < 4 * np.hypot(sd, frames.provenance["log_z_sd"][0]) < 0.02


def test_a_round_ends_at_the_systems_own_temperature(fitted):
    stages = [stage["beta"] for stage in fitted.diagnostics["tempering"]]
    rounds = [k for k, beta in enumerate(stages) if beta == 1.0]
    assert len(rounds) == 3
    levels = stages[rounds[0] : rounds[1]]
    assert levels == pytest.approx(np.geomspace(1.0, 1 / 3, len(levels)))
    assert all(a / b < 1.1501 for a, b in pairwise(levels))
    assert float(fitted.model.beta) == 1.0


def test_a_fit_is_resumed_bit_for_bit_within_a_round(tmp_path):
    def run(steps, **options):
        model = BoltzmannGenerator(Prinz(), temperatures=(1.0, 2.0), layers=2, bins=4, hidden=(8,), buffer=400)
        return bcg.fit(model, steps=steps, batch_size=32, seed=3, progress=False, **options)

    whole = run(120)
    part = run(120, run_dir=tmp_path, checkpoint_every=7)
    again = run(120, run_dir=tmp_path, checkpoint_every=7)
    for name, value in whole.model.state_dict().items():
        assert torch.equal(value, part.model.state_dict()[name])
        assert torch.equal(value, again.model.state_dict()[name])


def test_heat_capacity_of_springs_is_half_of_k_each_at_any_temperature():
    well = Harmonic((1.0, 4.0, 9.0), temperature_kT=0.7)
    frames = bcg.sampling.equilibrium(well, 20_000, seed=2)
    c = bcg.analysis.heat_capacity(frames, well)
    assert abs(c.mean - 1.5) < 4 * c.sd < 0.12
    assert bcg.analysis.heat_capacity(frames).mean == pytest.approx(c.mean, rel=1e-4)  # of their own energies
    with pytest.raises(DataError, match="no energies: give the system"):
        bcg.analysis.heat_capacity(replace(frames, energy=None))


@pytest.mark.parametrize(
    ("temperatures", "words"),
    [
        ((1.5, 3.0), r"two: the system's own, 1, and a higher one"),
        ((1.0, 0.5), r"two: the system's own"),
        ((1.0, 2.0, 3.0), r"two: the system's own"),
        ((1.0, 100.0), r"end above 50, where training begins: give a beta_start of 0.01 or less"),
    ],
)
def test_ranges_that_make_no_sense_are_refused(temperatures, words):
    with pytest.raises(ConfigError, match=words):
        BoltzmannGenerator(DoubleWell(), temperatures=temperatures)


def test_energies_do_not_teach_beside_a_range():
    with pytest.raises(ConfigError, match="energy_weight, or temperatures, not both"):
        BoltzmannGenerator(DoubleWell(), temperatures=(1.0, 3.0), energy_weight=1.0)


def test_frames_do_not_teach_a_range():
    model = BoltzmannGenerator(Harmonic((1.0, 4.0)), layers=2, bins=4, hidden=(8,), temperatures=(1.0, 3.0))
    with pytest.raises(ConfigError, match="frames teach one temperature"):
        bcg.fit(model, bcg.sampling.equilibrium(Harmonic((1.0, 4.0)), 200), steps=10, progress=False)
