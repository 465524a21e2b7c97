"""Labels where a learned potential is least certain: what is chosen, that the loop goes on, and what it refuses."""

import json
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
