"""Umbrella sampling with exchange: exact laws in each window, exact profiles, what it refuses, and what it saves."""

import warnings
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn
from torch.distributions import Independent, Normal

from bayescg.data import Frames, mbar
from bayescg.errors import CheckpointError, ConfigError, SimulationError
from bayescg.sampling import umbrella
from bayescg.sampling.biased import replicas
from bayescg.systems import DoubleWell, Harmonic, MuellerBrown5D, System, alanine_dipeptide
from bayescg.truth import free_energy

SPRINGS = Harmonic((1.0, 4.0))
LINE = np.linspace([-3.0, 0.0], [3.0, 0.0], 200)


def first(x):
    return x[:, 0]


def diagonal(x):
    return (x[:, 0] + x[:, 1]) / 2**0.5


def by_column(frames, f):
    """Averages of f of the frames of each window and column, (columns, windows); every window has as many frames."""
    columns, windows = len(np.unique(frames.trajectory)), frames.bias.windows
    values = f(frames).reshape(columns, -1)
    window = frames.bias.window.reshape(columns, -1)
    return np.stack([[v[w == k].mean() for k in range(windows)] for v, w in zip(values, window, strict=True)])


def deviations(dt=0.1, friction=1.0):
    """Mean and variance of the CV in each window against the exact ones, in standard errors of the columns."""
    frames = umbrella(
        SPRINGS, diagonal, 300, dt=dt, friction=friction, starts=LINE[50:150], centres=(-1.5, -0.5, 0.5, 1.5),
        walkers=200, exchange_every=2, stride=10, equilibration=100, seed=3, compile="trace",
    )  # fmt: skip
    kappa, centres = frames.provenance["stiffness"][0], np.array(frames.provenance["centres"])
    a = np.full(2, 0.5**0.5)
    inverse = np.linalg.inv(np.diag([1.0, 4.0]) + kappa * np.outer(a, a))
    mean, variance = a @ inverse @ a * kappa * centres, a @ inverse @ a
    s = by_column(frames, lambda frames: diagonal(frames.positions))
    square = by_column(frames, lambda frames: diagonal(frames.positions) ** 2)
    scores = [(v.mean(0) - exact) / (v.std(0, ddof=1) / np.sqrt(len(v)))
              for v, exact in ((s, mean), (square, variance + mean**2))]  # fmt: skip
    return np.abs(np.stack(scores)).max(), frames.provenance["acceptance"]


pytestmark = pytest.mark.filterwarnings("ignore:umbrella.* too stiff")  # what is tested here needs no fine steps


def test_exchange_keeps_the_law_of_each_window(monkeypatch):
    """BAOAB steps have no error in springs: eight averages within four standard errors, but not if all is accepted."""
    largest, acceptance = deviations()
    assert largest < 4
    assert min(acceptance) > 0.4
    monkeypatch.setattr(replicas, "accepted", lambda log_ratio, generator: torch.ones_like(log_ratio, dtype=torch.bool))
    control, acceptance = deviations()
    assert control > 8
    assert acceptance == [1.0, 1.0, 1.0]


def jackknife(frames, f):
    """A function of weighted frames and its standard error: columns are left out one by one, and weighed anew."""
    columns = np.unique(frames.trajectory)
    parts = [frames.subset(frames.trajectory != c) for c in columns]
    without = [f(replace(part, weights=np.exp(mbar(part.bias.energies, part.bias.window)[0]))) for part in parts]
    return f(frames), np.std(without, axis=0) * np.sqrt(len(columns) - 1)


def test_a_double_well_has_its_exact_profile_and_difference():
    edges = np.linspace(-3.2, 3.0, 32)
    frames = umbrella(
        DoubleWell(), first, 1500, dt=0.1, friction=2.0, starts=LINE, windows=16, walkers=16, stride=50, seed=1,
        compile="trace",
    )  # fmt: skip

    def answers(frames):
        profile = -np.log(np.histogram(frames.positions[:, 0], edges, weights=frames.weights)[0])
        right = frames.weights[frames.positions[:, 0] > 0.16745].sum() / frames.weights.sum()
        return np.r_[profile - profile.mean(), np.log(1 / right - 1)]

    exact = free_energy(DoubleWell(), first, edges).profile.values
    estimate, error = jackknife(frames, answers)
    scores = (estimate - np.r_[exact - exact.mean(), 4.7776]) / error
    assert np.sqrt((scores**2).mean()) < 2  # of 31 bins, which are worth some 5 independent ones
    assert abs(scores[-1]) < 3
    assert error.max() < 0.3


def test_frames_say_all_that_was_simulated():
    frames = umbrella(SPRINGS, first, 60, dt=0.05, starts=LINE, windows=3, walkers=2, stride=20, energy=True, seed=0)
    bias = frames.bias
    assert bias is not None
    assert bias.born is not None
    assert frames.order is not None
    assert frames.energy is not None
    assert frames.positions.shape == (2 * 3 * 3, 2)
    assert frames.trajectory.tolist() == [0] * 9 + [1] * 9
    assert frames.order.tolist() == [*range(9), *range(9)]
    assert bias.replica.tolist() == [0, 1, 2] * 3 + [3, 4, 5] * 3
    assert bias.born.tolist() == [0, 1, 2, 0, 1, 2]
    assert np.array_equal(np.sort(bias.window.reshape(-1, 3), 1), np.tile([0, 1, 2], (6, 1)))  # one replica in each
    centres, stiffness = (np.array(frames.provenance[k]) for k in ("centres", "stiffness"))
    expected = 0.5 * stiffness * (frames.positions[:, :1] - centres) ** 2
    assert np.allclose(bias.energies, expected, atol=1e-5)
    assert np.allclose(frames.energy, SPRINGS.energy(torch.as_tensor(frames.positions)).numpy(), atol=1e-5)
    cost = frames.provenance["cost"]
    assert (cost["force_evaluations"], cost["energy_evaluations"]) == (6 * 73, 6 * 4)


class Sum(nn.Module):
    """A model, as far as a bias looks at it."""

    def __init__(self):
        super().__init__()
        self.net = nn.Linear(2, 2, dtype=torch.float64)

    def cv(self, x):
        return Independent(Normal(self.net(x.flatten(1)), torch.ones(2, dtype=torch.float64)), 1)


def test_a_cv_may_be_a_model_or_a_function_and_steps_are_recorded_alike():
    model = Sum()

    def run(cv, compile, **more):
        return umbrella(
            SPRINGS, cv, 100, dt=0.05, starts=LINE, windows=4, walkers=3, stride=10, equilibration=100, seed=2,
            compile=compile, **more,
        )  # fmt: skip

    plain = run(model, "off", component=1)
    assert np.array_equal(run(model, "trace", component=1).positions, plain.positions)
    same = run(lambda x: model.net(x.double())[:, 1], "off")
    assert np.array_equal(same.positions, plain.positions)
    assert not np.array_equal(run(model, "off").positions, plain.positions)


def test_a_molecule_moves_by_langevin_dynamics_with_its_masses():
    system = alanine_dipeptide("amber14", solvent=None, temperature=300.0)
    starts = np.repeat(system.start[None], 20, 0) + np.linspace(0, 0.01, 20)[:, None, None] * np.eye(22, 3)
    frames = umbrella(
        system,
        lambda x: (x[:, 0] - x[:, 1]).norm(dim=-1),
        20,
        dt=0.0005,
        starts=starts,
        windows=3,
        walkers=2,
        stride=10,
    )
    assert frames.provenance["friction"] == 5.0
    assert frames.positions.shape == (12, 22, 3)
    assert frames.topology is not None
    assert frames.topology.n_atoms == 22


def test_a_column_that_explodes_is_left_out_and_the_others_go_on():
    """A hole in the second coordinate, where energies are no numbers, which some columns come to."""

    def energy(x):
        return 0.5 * (x**2).sum(-1) * torch.where(x[:, 1] > 3.0, torch.nan, 1.0)

    def run(walkers, starts=LINE):
        return umbrella(
            System(energy, 2, temperature_kT=1.0), first, 400, dt=0.05, starts=starts, windows=3, walkers=walkers,
            stride=20, equilibration=0, seed=4, compile="off",
        )  # fmt: skip

    with pytest.warns(UserWarning, match=r"no longer finite in \d of 8 columns \(column \d: window \d, after step \d+"):
        frames = run(8)
    rows = np.bincount(frames.trajectory, minlength=8)
    assert np.isfinite(frames.positions).all()
    assert rows.max() == 60
    assert rows.min() < 60
    assert (rows % 3 == 0).all()
    with pytest.raises(SimulationError, match="in 1 of 1 columns"):
        run(1, LINE + np.array([0.0, 2.9]))


def test_windows_that_hardly_overlap_are_named():
    flat = Harmonic((0.01, 1.0))
    with pytest.warns(UserWarning, match=r"umbrella: windows 1 and 2 \(\S+\) hardly overlap"):
        umbrella(flat, first, 1000, dt=0.05, starts=LINE, centres=(-2.2, -1.8, 1.8, 2.2), stiffness=3.0, stride=5)
    with pytest.raises(SimulationError, match="nothing connects windows 0 and 1"):
        umbrella(flat, first, 20, dt=0.001, starts=LINE, centres=(-2.8, 2.8), stiffness=100.0, stride=1)


def test_a_window_without_starts_is_named():
    far = np.concatenate([LINE[:20], LINE[180:]])
    with pytest.warns(UserWarning, match=r"no start is near 2 of 4 windows.*1 \(centre -0.5, nearest start -2.43"):
        umbrella(
            SPRINGS, first, 200, dt=0.05, starts=far, centres=(-2.5, -0.5, 0.5, 2.5), stiffness=3.0, walkers=2, stride=2
        )


def test_windows_reach_from_the_middle_of_one_basin_to_that_of_the_other():
    """Shots from x > 1 all end in one region, those from x < -1 in the other; where there are no such, quantiles."""
    shots = np.where(LINE[:, :1] > 1, [[5, 0]], np.where(LINE[:, :1] < -1, [[0, 5]], [[2, 3]]))
    starts = Frames.from_numpy(LINE, unit="reduced", temperature_kT=1.0)
    settings = {"dt": 0.05, "windows": 5, "walkers": 1, "stride": 1}

    def ends(**columns):
        frames = umbrella(SPRINGS, first, 20, starts=replace(starts, **columns), **settings)
        return [frames.provenance["centres"][k] for k in (0, -1)]

    assert ends(commitments=shots) == pytest.approx([-2.0, 2.0], abs=0.03)
    quantiles = np.quantile(LINE[:, 0], (0.01, 0.99))
    assert ends() == pytest.approx(quantiles)
    assert ends(commitments=np.c_[shots, shots]) == pytest.approx(quantiles)
    assert ends(commitments=np.full((200, 2), 1)) == pytest.approx(quantiles)


REFUSED = {
    "constant": ({"cv": lambda x: 0.0 * x[:, 0]}, "CV is constant over the 200 starts"),
    "a class": ({"cv": lambda x: (x[:, 0] > 0).float() + 0 * x[:, 1]}, "constant around all starts of window 0"),
    "not finite": ({"cv": lambda x: x[:, 0].log()}, "not finite at start 0"),
    "two columns": ({"cv": lambda x: x}, r"must map 200 configurations to a tensor \(200,\)"),
    "no function": ({"cv": 3}, "cv is a int: give a fit, or a function"),
    "outside": ({"centres": (50.0, 60.0), "stiffness": 1.0}, "all starts lie outside every window"),
    "falling": ({"centres": (2.0, 1.0)}, "must be at least two numbers that increase"),
    "soft": ({"stiffness": 0.0}, "stiffness=0.0 must be positive"),
    "too many": ({"stiffness": (1.0, 2.0)}, "one for each of 20"),
    "one window": ({"windows": 1}, "windows=1 must be a whole number, at least 2"),
    "component": ({"cv": Sum(), "component": 5}, "component=5, but the fit has 2 CVs"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_is_refused(name):
    arguments, message = REFUSED[name]
    with pytest.raises(ConfigError, match=message):
        umbrella(SPRINGS, **({"cv": first, "steps": 10, "dt": 0.1, "starts": LINE, "stride": 1} | arguments))


def test_other_windows_are_another_run(tmp_path):
    def run(**more):
        return umbrella(
            SPRINGS, **({"cv": first, "windows": 3} | more), steps=10, dt=0.1, starts=LINE, walkers=2, stride=1,
            run_dir=tmp_path,
        )  # fmt: skip

    kept = run().positions.copy()
    assert np.array_equal(run().positions, kept)
    with pytest.raises(CheckpointError, match="another centres"):
        run(centres=(-1.0, 0.0, 1.0))
    with pytest.raises(CheckpointError, match="another stiffness"):
        run(stiffness=2.0)
    with pytest.raises(CheckpointError, match="another the CV at the starts"):
        run(cv=lambda x: x[:, 0] + 0.1 * x[:, 1] ** 2 + 0.05 * x[:, 1])


def test_steps_that_are_too_long_for_a_stiff_window_are_named():
    """A spring alone under windows of its own stiffness k: steps of Euler and Maruyama widen it by k dt / 2."""
    system = Harmonic((1.0, 1.0))
    starts = np.linspace([-2.0, 0.0], [2.0, 0.0], 50)
    settings = {"starts": starts, "windows": 5, "walkers": 3, "stride": 1, "compile": "off", "progress": False}
    with pytest.warns(UserWarning, match=r"too stiff for steps of 0.1, .* make the variance 5% too large.*dt=0.077 or"):
        umbrella(system, lambda x: x[:, 0], 5, dt=0.1, **settings)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        umbrella(system, lambda x: x[:, 0], 5, dt=0.05, **settings)
        umbrella(system, lambda x: x[:, 0], 5, dt=0.1, friction=1.0, **settings)


@pytest.mark.slow
def test_the_shallow_landscape_in_five_dimensions():
    """The sheet of the potential: barrier 7.691 kT and difference 4.036 kT along (X - Y) / sqrt 2, in bins of 0.6."""
    system = MuellerBrown5D("shallow")

    def cv(x):
        z = system.split(x)[0]
        return (z[:, 0] - z[:, 1]) / 2**0.5

    line, beyond = torch.linspace(-0.3, 1, 400)[:, None], torch.linspace(0, 1.1, 400)[:, None]
    corner = torch.tensor([18.85, 17.99])
    ends = torch.tensor([23.07, 31.07]), torch.tensor([41.98, 8.45])
    path = torch.cat([ends[0] + line * (corner - ends[0]), corner + beyond * (ends[1] - corner)])
    starts = torch.stack([path[:, 0], 0 * path[:, 0], path[:, 1], 0 * path[:, 0], 0 * path[:, 0]], 1)
    frames = umbrella(system, cv, 30_000, dt=1.0, starts=starts, windows=28, stride=20, seed=0)
    edges = np.arange(-12, 26.1, 0.6)
    exact = free_energy(system, cv, edges).profile.values
    s = cv(torch.as_tensor(frames.positions)).numpy()
    middle = (edges[1:] + edges[:-1]) / 2
    low = (exact < 8.5) & (middle > -9)  # where windows reach
    profile = np.full(len(exact), np.inf)
    profile[low] = -np.log(np.histogram(s, edges, weights=frames.weights)[0][low])
    profile[low] += (exact - profile)[low].mean()
    assert np.sqrt(np.square((profile - exact)[low]).mean()) < 0.1
    well_a, well_b = (np.where(side, exact, np.inf).argmin() for side in (middle < 5, middle > 15))
    top = well_a + exact[well_a:well_b].argmax()
    assert exact[top] - exact[well_a] == pytest.approx(7.691, abs=0.001)
    assert abs(profile[top] - profile[well_a] - 7.691) < 0.2
    assert abs(profile[well_b] - profile[well_a] - 4.036) < 0.3
