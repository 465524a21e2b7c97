"""Maps of long time steps: the action they learn, and the structure that every draw of it keeps."""

from typing import Any

import numpy as np
import pytest
import torch
from torch.func import jacrev, vmap

import bayescg as bcg
from bayescg import nets
from bayescg.data import Frames
from bayescg.errors import ConfigError, DataError, ModelError
from bayescg.modelling import MapModel
from bayescg.models import ActionMap
from bayescg.systems import FermiPastaUlam, HenonHeiles, from_function

PAIRS = 60


@pytest.fixture(scope="module")
def pairs():
    system = HenonHeiles()
    return bcg.sampling.short_trajectories(system, system.shell(PAIRS, seed=3), lag=1.0)


@pytest.fixture(scope="module")
def fit(pairs):
    return bcg.fit(ActionMap(HenonHeiles(), waves=300), pairs, seed=0)


@pytest.fixture(scope="module")
def fresh():
    system = HenonHeiles()
    return bcg.sampling.short_trajectories(system, system.shell(100, (0.005, 0.12), seed=99), lag=1.0)


def symplectic_defect(step, q, p):
    """Largest entry of M^T J M - J of a map at states, M by central differences of its own solution."""
    dim, width = q.shape[1], 1e-4
    columns = []
    for k in range(2 * dim):
        move = torch.zeros(2 * dim, dtype=q.dtype)
        move[k] = width
        parts = [torch.cat(step(q + s * move[:dim], p + s * move[dim:])[:2], 1) for s in (2, 1, -1, -2)]
        columns.append((-parts[0] + 8 * parts[1] - 8 * parts[2] + parts[3]) / (12 * width))
    m = torch.stack(columns, -1)
    j = torch.zeros(2 * dim, 2 * dim, dtype=q.dtype)
    j[:dim, dim:], j[dim:, :dim] = torch.eye(dim), -torch.eye(dim)
    return float((m.transpose(1, 2) @ j @ m - j).abs().max())


def test_the_action_of_an_oscillator_is_the_exact_one():
    """Up to a constant (2/omega) tan(omega h / 2) H."""
    spring = from_function(lambda x: 0.5 * x.square().sum(-1), dim=1)
    q, p = (torch.linspace(-2, 2, 40, dtype=torch.float64)[torch.randperm(40)][:, None] for _ in range(2))
    for h in (0.5, 1.0, 1.4):
        fit = bcg.fit(ActionMap(waves=200), bcg.sampling.short_trajectories(spring, (q, p), lag=h))
        grid = torch.linspace(-1, 1, 9, dtype=torch.float64)
        states = torch.cartesian_prod(grid, grid)
        with torch.no_grad():
            model: Any = fit.model
            action = model.action(
                states[:, :1], states[:, 1:], fit.model.weight, torch.full((81,), h, dtype=torch.float64)
            )
        exact = 2 * np.tan(h / 2) * 0.5 * states.square().sum(1)
        wrong = (action - action[40]) - (exact - exact[40])
        assert float(wrong.abs().max()) < 1e-4 * float(exact.max())


def test_a_step_is_accurate_and_its_error_within_its_interval(fit, fresh):
    q, p, later_q, later_p = ActionMap.states(fresh)
    off = torch.cat([later_q, later_p], 1) - torch.cat(fit.map().step(q, p, 1e-12)[:2], 1)
    verlet = torch.cat(bcg.sampling.long_steps.short_trajectories.propagated(HenonHeiles(), q, p, 1.0, 1.0, 1, 2), 1)
    assert float(off.square().mean().sqrt()) < 1e-5
    assert float((torch.cat([later_q, later_p], 1) - verlet).square().mean().sqrt()) > 1e-2
    draws = fit.map(draws=24)
    steps = draws.step(q.repeat(24, 1), p.repeat(24, 1), 1e-10)
    sd = torch.cat(steps[:2], 1).unflatten(0, (24, -1)).std(0)
    assert 0.82 < float((off.abs() < 1.645 * sd).double().mean()) < 0.97


@pytest.mark.parametrize("which", ["mean", "draw", "untrained"])
def test_every_map_is_symplectic_and_reversible(which, fit, fresh):
    q, p = (x[:10] for x in ActionMap.states(fresh)[:2])
    step = {"mean": fit.map(), "draw": fit.map(draw=3), "untrained": fit.map()}[which]
    if which == "untrained":
        step.point = {**step.point, "weight": 1e-3 * torch.randn_like(step.point["weight"])}
    defects = []
    for tolerance in (1e-4, 1e-12):
        solved = lambda a, b, t=tolerance: step.step(a, b, t)  # noqa: E731
        there = solved(q, p)
        back = solved(there.q, -there.p)
        errors = float((back.q - q).abs().max()), float((back.p + p).abs().max())
        defects.append(max(*errors, symplectic_defect(solved, q[:3], p[:3])))
    assert defects[1] < 1e-8 < defects[0]


def test_an_average_of_maps_is_not_symplectic(fit, fresh):
    """A negative control: the structure is of each draw, not of their mean."""
    q, p = (x[:2] for x in ActionMap.states(fresh)[:2])
    widened = {k: fit.weights.point[k] + 1e4 * (v - fit.weights.point[k]) for k, v in fit.weights.draw(3).items()}
    draws = fit.map(draws=3)
    draws.varying = widened

    def averaged(a, b):
        moved = draws.step(a.repeat(3, 1), b.repeat(3, 1), 1e-11, most=25)  # rounding keeps it from 1e-11
        return moved.q.unflatten(0, (3, -1)).mean(0), moved.p.unflatten(0, (3, -1)).mean(0)

    assert symplectic_defect(averaged, q, p) > 1e-7


def test_the_jacobian_of_the_residual_is_the_one_of_the_equations(fit, pairs):
    """What noise of the later states does to the midpoint equations: A = 1 - J S''/2, in scaled units."""
    model = fit.model
    q, p, later_q, later_p = (x[:4] for x in model.states(pairs))
    units = model.units()

    def residual(later, q, p):
        a, b = (later * units).chunk(2)
        change = model.displacement((q + a)[None] / 2, (p + b)[None] / 2)
        return (torch.cat([a - q - change[0][0], b - p - change[1][0]])) / units

    def changes(q, p, h):
        return model.changes(q, p, model.weight.detach(), h)

    exact = vmap(jacrev(residual))(torch.cat([later_q, later_p], 1) / units, q, p)
    torch.testing.assert_close(
        nets.midpoint_metric(changes, units, (q + later_q) / 2, (p + later_p) / 2, torch.ones(4, dtype=torch.float64)),
        exact,
        rtol=1e-8,
        atol=1e-8,
    )


@pytest.mark.parametrize("order", [1, 3])
def test_what_is_known_beforehand_is_of_its_order(order):
    """What is left to learn of one step falls as h to the third, or the fifth, power."""
    system, left = FermiPastaUlam(), []
    starts = [x.double() for x in (0.3 * torch.randn(2, 40, 4, generator=torch.Generator().manual_seed(0)))]
    for lag in (0.2, 0.1, 0.05):
        pairs = bcg.sampling.short_trajectories(system, starts, lag=lag)
        q, p, later_q, later_p = ActionMap.states(pairs)
        model = ActionMap(system, order=order, waves=3, powers=(5,))
        MapModel.setup(model, pairs)
        change = model.displacement((q + later_q) / 2, (p + later_p) / 2)
        left.append(float((later_q - q - change[0]).detach().square().mean().sqrt()))
    orders = np.log2(np.array(left[:-1]) / left[1:])
    assert orders == pytest.approx(order + 2, abs=0.2)


def test_masses_count():
    """Equal springs under unequal masses: known to first order alone, the step is still that of the masses."""
    system = FermiPastaUlam(alpha=0.0, beta=0.0)
    starts = torch.randn(2, 2, 30, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    train, test = (bcg.sampling.short_trajectories(system, tuple(states), lag=0.8, accuracy=1e-8) for states in starts)
    fit = bcg.fit(ActionMap(system, waves=100), train)
    q, p, later_q, later_p = ActionMap.states(test)
    step = fit.map().step(q, p, 1e-12)
    assert float((step.p - later_p).abs().max()) < 1e-4
    assert float((step.q - later_q).abs().max()) < 1e-4


def test_noise_is_found_and_clean_pairs_tell_the_factor(pairs, fresh):
    rng = np.random.default_rng(0)
    frames = pairs.frames
    later = np.arange(len(frames)) % 2 == 1
    noise = 1e-3 * rng.normal(size=(2, *frames.positions.shape)) * later[:, None]
    noisy = Frames.from_numpy(
        frames.positions + noise[0], unit="reduced", dt=1.0, temperature_kT=1.0, momenta=frames.momenta + noise[1],
        masses=[1.0, 1.0], trajectory=frames.trajectory,
    ).lagged(1.0)  # fmt: skip
    fit = bcg.fit(ActionMap(HenonHeiles(), waves=300), noisy)
    model: Any = fit.model
    assert float(model.noise * model.widths[0]) == pytest.approx(1e-3, rel=0.25)
    q, p, later_q, _ = ActionMap.states(fresh)
    draws = fit.map(draws=20).step(q.repeat(20, 1), p.repeat(20, 1), 1e-9).q.unflatten(0, (20, -1))
    covered = (draws.mean(0) - later_q).abs() < 1.645 * draws.std(0)
    assert float(covered.double().mean()) > 0.75
    with pytest.warns(UserWarning, match="noisy"):
        alone = bcg.fit(ActionMap(waves=300), noisy)
    assert any("noisy" in warning for warning in alone.diagnostics["warnings"])


def test_what_is_no_state_is_refused(pairs):
    frames = pairs.frames
    positions = Frames.from_numpy(frames.positions, unit="reduced", dt=1.0, temperature_kT=1.0).lagged(1.0)
    with pytest.raises(DataError, match="no momenta"):
        bcg.fit(ActionMap(), positions)
    massless = Frames.from_numpy(
        frames.positions, unit="reduced", dt=1.0, temperature_kT=1.0, momenta=frames.momenta
    ).lagged(1.0)
    with pytest.raises(DataError, match="masses"):
        bcg.fit(ActionMap(), massless)
    with pytest.raises(DataError, match="one of lag"):
        bcg.fit(ActionMap(lag=0.5), pairs)
    with pytest.raises(DataError, match="4 coordinates"):
        bcg.fit(ActionMap(FermiPastaUlam()), pairs)
    heavier = from_function(lambda x: x.square().sum(-1), 2, masses=(1.0, 3.0))
    with pytest.raises(DataError, match="mass 1 in these frames and 3"):
        bcg.fit(ActionMap(heavier), pairs)
    with pytest.raises(ConfigError, match="order"):
        ActionMap(order=3)
    with pytest.raises(ModelError, match="mean-field"):
        bcg.fit(ActionMap(waves=20), pairs, uncertainty="mean-field")
    plain = bcg.fit(ActionMap(HenonHeiles(), waves=20), pairs, uncertainty="none")
    with pytest.raises(ModelError, match="no parameter uncertainty"):
        plain.map(draws=3)


def test_pairs_of_several_lags_teach_all_steps_up_to_the_longest():
    """Steps in between are as accurate, and intervals hold them; a step beyond is refused."""
    system = HenonHeiles()
    pairs = bcg.sampling.short_trajectories(system, system.shell(25, seed=1), lag=(0.25, 0.5, 0.75))
    fit = bcg.fit(ActionMap(system, waves=300), pairs)
    for lag in (0.25, 0.4):
        fresh = bcg.sampling.short_trajectories(system, system.shell(40, (0.005, 0.12), seed=9), lag=lag)
        q, p, *later = ActionMap.states(fresh)
        off = torch.cat(later, 1) - torch.cat(fit.map(lag=lag).step(q, p, 1e-12)[:2], 1)
        assert float(off.square().mean().sqrt()) < 1e-5
        steps = fit.map(draws=20, lag=lag).step(q.repeat(20, 1), p.repeat(20, 1), 1e-10)
        sd = torch.cat(steps[:2], 1).unflatten(0, (20, -1)).std(0)
        assert float((off.abs() < 1.7 * sd).double().mean()) > 0.8
    with pytest.raises(ConfigError, match=r"up to 0.75"):
        fit.map(lag=0.8)
    alone = bcg.fit(ActionMap(waves=300), pairs)
    assert alone.map(lag=0.5).lag == 0.5
    with pytest.raises(ConfigError, match="system="):
        alone.map(lag=0.4)


def test_the_spread_of_a_step_holds_beyond_what_was_learned(fit, fresh):
    """Inside, at somewhat higher energies, and far above, where it says that nothing is known."""
    system = HenonHeiles()
    ratios = []
    for energies, least in (((0.005, 0.12), 0.8), ((0.135, 0.16), 0.75), ((0.3, 0.5), 0.0)):
        states = bcg.sampling.short_trajectories(system, system.shell(40, energies, seed=9), lag=1.0, accuracy=1e-9)
        q, p, *later = ActionMap.states(states)
        spread = fit.map().spread(q, p)
        off = torch.cat(later, 1) - torch.cat(fit.map().step(q, p, 1e-12)[:2], 1)
        covered = off.abs() < 1.645 * torch.cat([spread.q, spread.p], 1)
        assert float(covered.double().mean()) > least
        ratios.append(float(spread.ratio.median()))
    assert ratios[0] < 0.2
    assert ratios[2] > 3.0
    plain = bcg.fit(ActionMap(HenonHeiles(), waves=20), fresh, uncertainty="none")
    with pytest.raises(ModelError, match="how wrong"):
        plain.map().spread(q, p)


def test_a_fit_of_ones_own_system_is_loaded_with_it(tmp_path):
    system = from_function(lambda x: 0.5 * x.square().sum(-1) + 0.1 * x[:, 0] ** 4, dim=1)
    q, p = torch.randn(2, 30, 1, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    fit = bcg.fit(ActionMap(system, waves=60), bcg.sampling.short_trajectories(system, (q, p), lag=(0.4, 0.8)))
    fit.save(tmp_path)
    loaded = bcg.Fit.load(tmp_path, model=ActionMap(system, waves=60))
    for lag in (0.8, 0.6):
        there, again = (f.map(draw=2, lag=lag).step(q, p, 1e-12) for f in (fit, loaded))
        torch.testing.assert_close(there.q, again.q, rtol=0, atol=1e-12)


@pytest.fixture(scope="module")
def of_a_chain():
    return bcg.sampling.short_trajectories(FermiPastaUlam(), 20, lag=0.8)


@pytest.mark.parametrize("wrong", ["velocities", "times", "masses"])
def test_pairs_that_the_system_does_not_make_are_warned_of(wrong, of_a_chain):
    system, frames = FermiPastaUlam(), of_a_chain.frames
    momenta = frames.momenta / frames.masses if wrong == "velocities" else frames.momenta
    other = FermiPastaUlam((1.0, 1.0, 1.0, 1.0)) if wrong == "masses" else system
    changed = Frames.from_numpy(
        frames.positions, unit="reduced", dt=0.4 if wrong == "times" else 0.8, temperature_kT=frames.kT,
        momenta=momenta, masses=other.masses, trajectory=frames.trajectory,
    )  # fmt: skip
    with pytest.warns(UserWarning, match="do not follow from the system"):
        ActionMap(other, waves=20).setup(changed.lagged(0.4 if wrong == "times" else 0.8))


def test_states_of_a_step_are_checked(fit):
    q = torch.zeros(3, 2, dtype=torch.float64)
    with pytest.raises(DataError, match=r"shape \(n, 2\)"):
        fit.map().step(q.numpy(), q)
    with pytest.raises(DataError, match="momenta of state 1 are not finite"):
        fit.map().step(q, q.index_fill(0, torch.tensor(1), torch.nan))
