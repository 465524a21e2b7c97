"""Seeds of adaptive sampling: right derivatives, better than seeds anywhere, and quantities that data do not define."""

import numpy as np
import pytest
import torch
from scipy.linalg import expm

import bayescg as bcg
from bayescg.analysis import next_seeds
from bayescg.analysis.kinetics import seeds as module
from bayescg.analysis.kinetics.chain_quantities import chain_quantity
from bayescg.data import Frames
from bayescg.errors import ConfigError, DataError
from bayescg.truth.grid import Grid

EVERY, LENGTH, WALKERS = 0.2, 10, 10
EDGES = torch.linspace(-1.5, 1.5, 20)


def cells(x):
    return torch.bucketize(x[:, 0].float().contiguous(), EDGES)


@pytest.fixture(scope="module")
def well():
    """Centres of a fine grid of a double well at kT = 1/4, jumps between its cells in 0.2, and log t1 (3.51)."""
    system = bcg.systems.QuarticDoubleWell(temperature_kT=0.25)
    grid = Grid(system, (300,))
    rate = bcg.truth.spectrum(system, 1).eigenvalues[0]
    return grid.axes[0], np.cumsum(expm(EVERY * grid.generator().toarray()), 1), -np.log(rate)


def walk(step, states, rng):
    out = [states]
    for _ in range(LENGTH):
        beyond = step[out[-1]] < rng.random(len(states))[:, None]
        out.append(np.minimum(beyond.sum(1), len(step) - 1))
    return np.stack(out, 1)


def frames_of(x):
    number = np.repeat(np.arange(len(x)), x.shape[1])
    return Frames.from_numpy(x.reshape(-1, 1), unit="reduced", dt=EVERY, temperature_kT=0.25, trajectory=number)


def error(well, seed, policy, rounds=10):
    """Of log t1, and whether its 90 % interval holds it, when so many rounds begin as a policy says."""
    x, step, exact = well
    rng = np.random.default_rng([seed, 3])
    states, walks = np.full(WALKERS, np.searchsorted(x, -1.0)), []
    for number in range(rounds):
        walks.append(walk(step, states, rng))
        places = np.concatenate(walks)
        frames = frames_of(x[places])
        if policy == "continue":
            states = walks[-1][:, -1]
        elif policy == "uniform":
            cell = cells(torch.as_tensor(x[places.ravel()])[:, None]).numpy()
            visited = rng.choice(np.unique(cell), WALKERS)
            states = np.array([rng.choice(places.ravel()[cell == k]) for k in visited])
        elif number < rounds - 1:
            states = places.ravel()[next_seeds(cells, frames, "log t1", WALKERS, explore=0.5, seed=seed).index]
    seeds = next_seeds(cells, frames, "log t1", 1, seed=seed)
    low, high = np.quantile(seeds.draws, [0.05, 0.95])
    return seeds.value - exact, low < exact < high


@pytest.mark.slow
def test_seeds_are_worth_many_times_the_continued_walkers(well):
    """At equal cost, and 1.25 times those anywhere in the states visited; intervals hold though seeds were chosen."""
    policies = ("seeds", "uniform", "continue")
    errors = {p: np.array([error(well, seed, p) for seed in range(200)]) for p in policies}
    rmse = {p: float(np.sqrt(np.mean(e[:, 0] ** 2))) for p, e in errors.items()}
    assert rmse["seeds"] <= 0.40
    assert (rmse["seeds"] / rmse["uniform"]) ** 2 <= 0.8
    assert (rmse["seeds"] / rmse["continue"]) ** 2 <= 0.3
    assert 164 <= errors["seeds"][:, 1].sum() <= 193


def test_a_few_rounds_of_seeds(well):
    assert abs(error(well, 0, "seeds", rounds=3)[0]) < 3.0


def test_the_first_seed_is_the_best_of_all():
    """By adding the expected visits of each, and looking at the variance."""
    p, counts = chain(3)[None], np.array([3.0, 9.0, 1.0, 20.0, 5.0, 2.0])
    weights, visits = chain_quantity("log t1", None, EVERY, np.arange(6)).spreads(p), module._visits(p, 4)
    variance = [(weights / (counts + visits[0, s] + 1)).sum() for s in range(6)]
    assert module._picked(weights, visits, counts, 3, 0)[0] == int(np.argmin(variance))
    assert module._picked(weights, visits, counts, 3, 3)[0] == 2


def chain(seed=0, n=6):
    rng = np.random.default_rng(seed)
    p = rng.dirichlet(np.ones(n), n) + 3 * np.eye(n)
    return p / p.sum(1, keepdims=True)


@pytest.mark.parametrize("name", ["log t1", "log t2", "logit p"])
def test_the_variance_of_a_quantity_is_that_of_its_derivatives(name):
    """One count more is one draw of a row: the derivative along it, by differences."""
    p = chain()
    quantity = chain_quantity(name, [0, 2] if name == "logit p" else None, EVERY, np.arange(6))
    weights = quantity.spreads(p[None])[0]
    for i in (0, 3):
        slopes = []
        for j in range(6):
            move = np.zeros_like(p)
            move[i] = np.eye(6)[j] - p[i]
            ends = quantity.values(np.stack([p + 1e-6 * move, p - 1e-6 * move]))
            ends = ends if name == "logit p" else np.exp(-EVERY / np.exp(ends))  # eigenvalues
            slopes.append((ends[0] - ends[1]) / 2e-6)
        assert weights[i] == pytest.approx(p[i] @ np.square(slopes), rel=1e-4)


def test_a_trajectory_visits_as_many_states_as_it_is_long():
    visits = module._visits(chain()[None], 7)
    assert np.allclose(visits.sum(2), 7)


def test_what_seeds_say_of_themselves(well):
    x, step, _ = well
    rng = np.random.default_rng(0)
    places = walk(step, np.tile(np.searchsorted(x, [-1.0, 0.0, 1.0]), 10), rng)
    seeds = next_seeds(cells, frames_of(x[places]), "logit p", 5, region=range(10), explore=0.0)
    assert (cells(torch.as_tensor(x[places.ravel()[seeds.index]])[:, None]).numpy() == seeds.state).all()
    assert seeds.expected_sd < seeds.sd
    assert seeds.states == len(np.unique(cells(torch.as_tensor(x[places]).reshape(-1, 1))))
    explored = next_seeds(cells, frames_of(x[places]), n=3, explore=1.0)
    assert explored.counts[explored.state[0]] == explored.counts[explored.counts > 0].min()


def test_seeds_in_one_state_are_different_frames_as_long_as_there_are():
    state = np.array([2, 2, 1, 2, 0, 2, 2, 0, 2, 0])
    index = module._frames_in(np.array([0, 1, 0, 1, 0]), state, np.random.default_rng(0))
    assert sorted(index[[0, 2, 4]]) == [4, 7, 9]
    assert index[[1, 3]].tolist() == [2, 2]


def test_states_are_entered_first_by_one_trajectory():
    x = np.array([[-1.4, -1.4], [-1.4, 0.0], [0.0, 1.4]])
    seeds = next_seeds(lambda x: ((x[:, 0] + 1.4) * 5).round(), frames_of(x), n=2)
    assert seeds.entered[[0, 7, 14]].tolist() == [0, 1, 2]
    assert (seeds.entered >= 0).sum() == seeds.states == 3


def test_crossings_are_counted_each_way():
    slow = np.array([0.0, 0.5, 1.0])
    path = np.array([0, 1, 2, 1, 2, 0, 2, 2, 2, 0])
    assert module._crossings(module._thirds(slow)[path], np.array([0, 7])) == (2, 2)


def test_many_frames_are_looked_at_in_parts(monkeypatch):
    frames = frames_of(np.random.default_rng(0).normal(size=(5, 40)))
    whole = next_seeds(cells, frames, "log t1", lag=2.0)
    monkeypatch.setattr(module, "ROWS", 7)
    parts = next_seeds(cells, frames, "log t1", lag=2.0)
    for name in ("index", "state", "draws", "counts", "entered", "crossings"):
        assert np.array_equal(getattr(whole, name), getattr(parts, name)), name


APART = frames_of(np.concatenate([np.full((3, 20), -1.0), np.full((3, 20), 1.0)]))
FEW = frames_of(np.tile(np.linspace(-1.2, -0.9, 20), (3, 1)))


@pytest.mark.parametrize(
    ("ask", "kind", "says"),
    [
        (lambda: next_seeds(cells, FEW, "log t9"), DataError, "is not defined"),
        (lambda: next_seeds(cells, FEW, "rate"), ConfigError, "is not known"),
        (lambda: next_seeds(cells, FEW, "logit p"), ConfigError, "region=None and quantity='logit p'"),
        (lambda: next_seeds(cells, FEW, region=[1, 2]), ConfigError, "goes with quantity='logit p', and with no other"),
        (lambda: next_seeds(cells, FEW, "logit p", region=[19]), DataError, "no visited state is in region"),
        (lambda: next_seeds(cells, FEW, "logit p", region=range(20)), DataError, "all visited states"),
        (lambda: next_seeds(cells, APART), DataError, "2 groups of them are apart, of which 4 and 16"),
        (lambda: next_seeds(cells, FEW, n=0), ConfigError, "n"),
        (lambda: next_seeds(cells, FEW, n=61), ConfigError, "n=61 seeds are more than the 60 frames"),
        (lambda: next_seeds(cells, FEW, explore=2), ConfigError, "is a share"),
        (lambda: next_seeds(cells, FEW, lag=99.0), DataError, "use a shorter one"),
        (lambda: next_seeds(lambda x: x[:, 0].long() - 9, FEW), DataError, "states are numbers from 0"),
        (lambda: next_seeds(cells, Frames.from_numpy(np.ones((12, 1)), unit="reduced")), DataError, "no time axis"),
    ],
    ids=[
        "modes",
        "unknown",
        "no region",
        "its region",
        "elsewhere",
        "everything",
        "apart",
        "none",
        "many",
        "share",
        "lag",
        "states",
        "time",
    ],
)
def test_requests_that_the_data_do_not_define_are_refused(ask, kind, says):
    with pytest.raises(kind, match=says):
        ask()
