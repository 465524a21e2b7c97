"""Simulations with draws of a potential, or shared by draws: both spread as the posterior does, known exactly here."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.signal import lfilter
from scipy.stats import norm
from torch import nn

import bayescg as bcg
from bayescg.analysis.resampled import average
from bayescg.data import Frames, draw_of
from bayescg.inference.fitted_system import FittedSystem
from bayescg.modelling import PotentialModel

SPREAD = 0.15
"""Posterior sd of the place of a spring of unit stiffness, kT = 1."""
MEMORY = 0.95
"""Of a simulation that draws share, from one frame to the next."""
EXACT = 0.2401
"""That of ln P(x > 0) / P(x < 0) about a spring at N(0, 0.15): nearly 2 sqrt(2 / pi) 0.15; by quadrature."""


def springs(draws: int, chains: int, frames: int, spread: float, seed: int, memory: float = 0.8) -> Frames:
    """Exact frames of a spring at a place drawn from N(0, spread), `chains` of each draw."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(draws * chains, frames))
    for t in range(1, frames):
        x[:, t] = memory * x[:, t - 1] + (1 - memory**2) ** 0.5 * x[:, t]
    x += np.repeat(spread * rng.normal(size=draws), chains)[:, None]
    run = Frames.from_numpy(
        x.reshape(-1, 1), unit="reduced", dt=1.0, temperature_kT=1.0, trajectory=np.repeat(np.arange(len(x)), frames)
    )
    return replace(run, provenance={"potential_draws": draws, "chains": draws * chains})


def place(x: torch.Tensor) -> torch.Tensor:
    return x[:, 0]


def landscape(run: Frames, seed: int = 0) -> bcg.analysis.FreeEnergy:
    return bcg.analysis.free_energy(None, run, cv=place, bins=10, draws=1000, seed=seed)


class Spring(PotentialModel):
    """At a place that is not known."""

    def __init__(self):
        super().__init__()
        self.place = nn.Parameter(torch.zeros(1))
        self.begin_potential(None, 1, None, 1.0)

    def reset(self):
        """Nothing is random."""

    def potential(self, x):
        return (x - self.place).square().sum(-1) / 2

    def model(self, batch):
        raise NotImplementedError

    def guide(self, batch):
        raise NotImplementedError

    @classmethod
    def example(cls):
        raise NotImplementedError


def test_a_simulation_of_draws_has_the_interval_of_the_posterior():
    places = torch.tensor(norm.ppf((np.arange(40) + 0.5) / 40) * SPREAD).float()[:, None]
    model = Spring()
    system = FittedSystem(model, {"place": model.place.detach()}, {"place": places}, linear=False, draws=40)
    run = bcg.sampling.langevin(system, 2000, dt=0.3, chains=160, stride=10, equilibration=200, progress=False)
    assert run.provenance["potential_draws"] == 40
    difference = landscape(run).difference((-9, 0), (0, 9))
    logs = norm.logcdf(-places.numpy()) - norm.logcdf(places.numpy())
    # four standard errors: chance of 0.07 in each draw, of 40, changes their spread by sqrt(1 / 39) 0.07 / 0.24
    assert difference.sd == pytest.approx(logs.std(ddof=1), rel=0.19)
    assert difference.ci90 == pytest.approx((-1.645 * EXACT, 1.645 * EXACT), abs=0.19 * 1.645 * EXACT)
    # as of one system: the standard error of the mean over draws and chains, six times smaller
    single = landscape(replace(run, provenance={})).difference((-9, 0), (0, 9))
    assert single.sd < difference.sd / 4


@pytest.mark.parametrize("chains", [1, 4])
def test_what_chance_makes_of_short_chains_is_taken_out(chains: int):
    """Frames of one draw have a standard error of 1.4 times the posterior's spread in one chain, 0.7 times in four."""
    errors, sds, sources, averages = [], [], [], []
    for seed in range(6):
        run = springs(100, chains, 200, SPREAD, seed)
        found = landscape(run, seed).difference((-9, 0), (0, 9))
        of_frames = average(np.array(run.positions[:, 0] > 0, float), run, 1000, seed, "")
        errors.append(found.mean)
        sds.append(found.sd)
        averages.append(of_frames.sd)
        sources.append([found.sd_by_source[k] for k in ("sampling", "parameter")])
        assert np.square(sources[-1]).sum() == pytest.approx(found.sd**2)
        assert of_frames.sd_by_source["parameter"] == pytest.approx(of_frames.sd, rel=0.1)
    chance = 2 * (2 / np.pi) ** 0.5 * (9 / (200 * chains * 100)) ** 0.5  # of the mean, linearised: g = 9
    of_mean = (EXACT**2 / 100 + chance**2) ** 0.5
    # four standard errors, of a variance between 100 draws from which that of chance is taken
    tolerance = 4 * (of_mean * 10 / EXACT) ** 2 * (2 / 99) ** 0.5 / 2 / 6**0.5
    assert np.mean(sds) == pytest.approx(EXACT, rel=tolerance)
    assert np.mean(averages) == pytest.approx(EXACT / 4, rel=tolerance)
    assert np.mean(sources, 0)[0] == pytest.approx(chance, rel=0.3)
    assert np.sqrt(np.mean(np.square(errors))) < 1.8 * of_mean


def test_the_spread_of_a_wide_posterior():
    exact = 1.005  # by quadrature
    sds = [landscape(springs(100, 2, 200, 0.6, seed)).difference((-9, 0), (0, 9)).sd for seed in range(4)]
    assert np.mean(sds) == pytest.approx(exact, rel=0.2)


def test_draws_that_do_not_differ_cost_no_more_than_can_be_told():
    run = springs(100, 4, 200, 0.0, 1)
    found, single = (landscape(r).difference((-9, 0), (0, 9)) for r in (run, replace(run, provenance={})))
    # a spread of (2 / 99)^(1/4) of a draw's chance, ten times the error of the mean, cannot be ruled out
    assert single.sd < found.sd < 10 * single.sd * 2 * (2 / 99) ** 0.25
    assert found.sd_by_source["sampling"] == pytest.approx(single.sd, rel=0.3)


def test_profiles_have_the_spread_too():
    run = springs(100, 4, 200, SPREAD, 3)
    spread, single = (landscape(r).sd.values for r in (run, replace(run, provenance={})))
    assert (spread[[2, 7]] > 2 * single[[2, 7]]).all()


def test_few_draws_are_said():
    few = springs(4, 2, 400, SPREAD, 0)
    found = landscape(few)
    assert any("of 4 draws of the potential, which tell little" in text for text in found.warnings)
    assert found.difference((-9, 0), (0, 9)).ci90 is not None
    values = np.array(few.positions[:, 0])
    with pytest.warns(UserWarning, match="of 4 draws of the potential"):
        assert average(values, few, 200, 0, "").ci90 is not None
    for count in (1, 2):
        run = springs(count, 4, 400, SPREAD, 0)
        warning = average(np.array(run.positions[:, 0]), run, 200, 0, "").warning
        assert warning is not None
        assert "no spread between them" in warning
        difference = landscape(run).difference((-9, 0), (0, 9))
        assert difference.ci90 is None
        assert difference.warning == warning


def test_a_part_of_the_chains_keeps_its_draws():
    run = springs(5, 4, 10, SPREAD, 0)
    part = run.subset(run.trajectory >= 8)
    draw = draw_of(part)
    assert draw is not None
    assert np.unique(draw).tolist() == [2, 3, 4]
    assert draw_of(replace(run, provenance={})) is None


def shared(draws: int, frames: int, spread: float, seed: int, stretches: bool = False) -> Frames:
    """A path about a spring, forgotten in 20 frames, each moved by what one of the draws has at N(0, spread)."""
    rng = np.random.default_rng(seed)
    noise = rng.normal(size=frames)
    noise[1:] *= (1 - MEMORY**2) ** 0.5
    turn = rng.permuted(np.tile(np.arange(draws), (frames // draws, 1)), axis=1).ravel()
    if stretches:
        turn = np.sort(turn)
    x = lfilter([1.0], [1.0, -MEMORY], noise) + spread * rng.normal(size=draws)[turn]
    run = Frames.from_numpy(x[:, None], unit="reduced", dt=1.0, temperature_kT=1.0)
    if stretches:
        return replace(run, trajectory=turn, provenance={"potential_draws": draws, "chains": draws})
    return replace(run, draw=turn)


def test_draws_that_share_a_simulation_do_not_differ_by_how_it_moves():
    count, frames, spread = 40, 20_000, 0.06
    slow = ((1 + MEMORY) / (1 - MEMORY) / frames) ** 0.5
    runs = [shared(count, frames, spread, seed) for seed in range(8)]
    means = [average(np.array(run.positions[:, 0]), run, 1000, seed, "") for seed, run in enumerate(runs)]
    sources = [q.sd_by_source or {} for q in means]
    squares = np.array([[float(parts[k] or 0) ** 2 for k in ("sampling", "parameter")] for parts in sources])
    assert squares.sum(1) == pytest.approx([q.sd**2 for q in means])
    # four standard errors: of 8 variances between 50 blocks, a tenth of which is a guess, and of 8 between 40 draws
    assert squares[:, 0].mean() == pytest.approx(slow**2, rel=4 * (2 / 50 / 8) ** 0.5 + 0.1)
    assert squares[:, 1].mean() == pytest.approx(spread**2 * (1 + 1 / count), rel=1.4 * 4 * (2 / 39 / 8) ** 0.5)
    # in stretches, one for each, draws pass for simulations of their own, which differ by far more
    wide = shared(count, frames, spread, 0, stretches=True)
    assert average(np.array(wide.positions[:, 0]), wide, 1000, 0, "").sd > 1.5 * np.mean([q.sd for q in means])
    differences = [landscape(run, seed).difference((-9, 0), (0, 9)) for seed, run in enumerate(runs)]
    ratio = np.mean([d.sd for d in differences]) / np.mean([q.sd for q in means])
    assert ratio == pytest.approx(2 * (2 / np.pi) ** 0.5, rel=0.15)  # of ln P(x > 0) / P(x < 0), linearised


def test_a_part_of_a_shared_simulation_keeps_its_draws():
    run = shared(5, 100, 0.1, 0)
    part = draw_of(run[20:])
    assert part is not None
    assert np.bincount(part).tolist() == [16] * 5
    with pytest.warns(UserWarning, match="of 5 draws that share a simulation, which tell little"):
        assert average(np.array(run.positions[:, 0]), run, 200, 0, "").ci90 is not None
    assert run.fingerprint() != replace(run, draw=None).fingerprint()
