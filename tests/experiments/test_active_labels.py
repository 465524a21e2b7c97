"""Labels where a learned potential is least certain: what is chosen, that the loop goes on, and what it refuses."""

import json
import warnings
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import bayescg as bcg
from bayescg.errors import CheckpointError, ConfigError
from bayescg.experiments import active
from bayescg.experiments.acquisition import most_informative
from bayescg.experiments.acquisition.reach import Reach
from bayescg.models import MultitaskCV, NeuralPotential

SYSTEM = bcg.systems.MorseCluster(4)
MODEL = NeuralPotential(width=4, cutoff=3.0)
SETTINGS: dict[str, Any] = {
    "dt": 0.02, "first": 12, "batch": 4, "chains": 3, "stretches": 2, "stretch": 5, "draws": 20,
    "fit": {"steps": 15, "batch_size": 12, "compile": "off"},
}  # fmt: skip


@pytest.fixture(scope="module")
def pool() -> bcg.data.Frames:
    x = torch.as_tensor(SYSTEM.start).flatten() + 0.1 * torch.randn(30, 12, generator=torch.Generator().manual_seed(0))
    return bcg.data.Frames.from_numpy(x.float().numpy(), unit="reduced", temperature_kT=SYSTEM.kT)


@pytest.fixture(scope="module")
def finished(pool, tmp_path_factory):
    path = tmp_path_factory.mktemp("labels") / "run"
    return active(SYSTEM, MODEL, "labels", until={"rounds": 2}, out=path, configurations=pool, **SETTINGS)


def numbers(path: Path) -> list[dict]:
    rounds = json.loads((path / "history.json").read_text())
    return [{k: v for k, v in r.items() if k != "seconds"} for r in rounds]


def told(rows: np.ndarray) -> float:
    """What labels tell together."""
    flat = rows.reshape(-1, rows.shape[-1])
    return float(np.linalg.slogdet(np.eye(len(flat)) + flat @ flat.T)[1])


def test_the_greedy_choice_is_nearly_the_best():
    rows = np.random.default_rng(0).normal(size=(9, 2, 5)) * np.linspace(0.2, 2.0, 9)[:, None, None]
    order = most_informative(rows, 3)
    assert told(rows[order[:1]]) == pytest.approx(max(told(rows[[i]]) for i in range(9)))
    step = max(told(rows[[order[0], i]]) for i in range(9) if i != order[0])
    assert told(rows[order[:2]]) == pytest.approx(step)
    best = max(told(rows[list(c)]) for c in combinations(range(9), 3))
    assert 0.63 * best < told(rows[order]) <= best + 1e-9
    assert len(set(most_informative(rows, 20))) == 9


def test_a_duplicate_is_not_chosen_twice():
    rows = np.random.default_rng(1).normal(size=(4, 1, 50)) * np.array([3.0, 1.0, 1.0, 1.0])[:, None, None]
    rows[1] = 1.001 * rows[0]
    order = most_informative(rows, 3)
    assert len({0, 1} & set(order)) == 1


def test_rounds_add_up(finished):
    assert [r.frames for r in finished.history] == [12, 16]
    assert [r.evaluations for r in finished.history] == [12, 16]
    x = torch.as_tensor(np.asarray(finished.frames.positions))
    np.testing.assert_allclose(finished.frames.energy, SYSTEM.energy(x), rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(finished.frames.forces, SYSTEM.forces(x), rtol=1e-3, atol=1e-3)
    assert finished.quantity.sd > 0
    assert finished.fit.system().dim == 12


@pytest.mark.slow
def test_a_loop_that_is_killed_goes_on_to_the_same_numbers(pool, finished, tmp_path):
    class Killed(Exception):
        pass

    def die(line: str) -> None:
        if line.startswith("round 0"):
            raise Killed

    arguments: dict[str, Any] = {"until": {"rounds": 2}, "out": tmp_path, "configurations": pool, **SETTINGS}
    with pytest.raises(Killed):
        active(SYSTEM, MODEL, "labels", say=die, **arguments)
    active(SYSTEM, MODEL, "labels", **arguments)
    assert numbers(tmp_path) == numbers(finished.path)
    with pytest.raises(CheckpointError, match=r"another active loop \(different: choice\)"):
        active(SYSTEM, MODEL, "labels", choice="random", **arguments)


def distances(x: np.ndarray) -> np.ndarray:
    first, second = np.triu_indices(4, 1)
    x = x.reshape(len(x), 4, 3)
    return np.linalg.norm(x[:, first] - x[:, second], axis=-1)


def test_a_simulation_is_followed_to_where_particles_leave_the_distances_that_are_labelled(pool, tmp_path):
    """One that hardly learned lets them run into each other, to a fifth of the least distance that has a label."""
    long: dict[str, Any] = {**SETTINGS, "chains": 20, "stretch": 60}
    run = active(SYSTEM, MODEL, "labels", until={"rounds": 1}, out=tmp_path, configurations=pool, **long)
    labelled = distances(np.asarray(run.frames.positions))
    with np.load(tmp_path / "round-000" / "visited.npz") as stored:
        visited = distances(stored["positions"])
    assert visited.min() > 0.8 * labelled.min()  # the step that first comes 0.9 times as close may lead a bit further
    assert visited.max() < 1.2 * labelled.max()
    assert visited.max() > 1.1 * labelled.max()


def test_like_particles_reach_as_far_whichever_they_are():
    x = np.asarray(SYSTEM.start, dtype=np.float64).reshape(1, 4, 3)
    path = np.repeat(x[None], 6, 1)
    path[0, :, 3] += np.linspace(0.0, 1.0, 6)[:, None] * (x[0, 0] - x[0, 3])  # the last one walks into the first
    flat, swapped = path.reshape(1, 6, 12), path[:, :, [3, 2, 1, 0]].reshape(1, 6, 12)
    for labelled in (x, x[:, [1, 0, 3, 2]]):
        for walk in (flat, swapped):
            end, left = Reach(labelled.reshape(1, 12), None).up_to_its_end(walk)
            assert left.all()
            np.testing.assert_array_equal(end[0], walk[0, 1])
    rigid = np.repeat((2.0 - x[None]), 3, 1).reshape(1, 3, 12)
    end, left = Reach(x.reshape(1, 12), None).up_to_its_end(rigid)
    assert not left.any()


def test_what_is_to_be_said_of_a_frame_is_said_once(pool, tmp_path):
    """Each of three rounds has the first two particles of frame 0 in nearly the same place, beside other frames."""
    x = np.asarray(pool.positions).copy().reshape(30, 12)
    x[0, 3:6] = x[0, :3] + 0.05
    broken = bcg.data.Frames.from_numpy(x, unit="reduced", temperature_kT=SYSTEM.kT)
    few: dict[str, Any] = {"first": 30, "batch": 2, "chains": 2, "stretch": 2, "draws": 4}
    arguments: dict[str, Any] = {**SETTINGS, **few, "fit": {"steps": 1, "compile": "off"}}
    for _ in range(2):  # a loop that is read says it, too
        with warnings.catch_warnings(record=True) as doubts:
            warnings.simplefilter("always")
            active(SYSTEM, MODEL, "labels", until={"rounds": 3}, configurations=broken, out=tmp_path, **arguments)
        assert len([d for d in doubts if "the forces of frame 0 are" in str(d.message)]) == 1


def test_it_stops_where_the_forces_are_sure_enough(pool, tmp_path):
    run = active(SYSTEM, MODEL, "labels", until={"sd": 1e6}, out=tmp_path, configurations=pool, **SETTINGS)
    assert len(run.history) == 1
    assert "sd is at most" in run.reason


def test_bad_input_is_refused(pool, tmp_path):
    for model, settings, what in [
        (MODEL, {"choice": "informatoin"}, 'did you mean "information"'),
        (MODEL, {"strech": 5}, 'strech= is not known here: did you mean "stretch"'),
        (MODEL, {"heat": 0.0}, "heat=0.0"),
        (MODEL, {"first": 31}, "at least first=31 Frames"),
        (MultitaskCV(dim=12), {}, "MultitaskCV has no potential to simulate with"),
    ]:
        with pytest.raises(ConfigError, match=what):
            active(
                SYSTEM,
                model,
                "labels",
                until={"rounds": 1},
                out=tmp_path,
                configurations=pool,
                **{**SETTINGS, **settings},
            )
