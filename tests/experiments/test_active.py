"""An active loop: what it chooses, that it goes on where it stopped, and when it ends."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import bayescg as bcg
from bayescg.errors import CheckpointError, ConfigError
from bayescg.experiments import active
from bayescg.experiments.acquisition import Shots, Windows
from bayescg.experiments.acquisition.next_shots import information
from bayescg.models import MultitaskCV

SYSTEM = bcg.systems.QuarticDoubleWell(2, temperature_kT=0.5)
SIDES = {"A": lambda x: x[:, 0] < -0.9, "B": lambda x: x[:, 0] > 0.9}
MODEL = MultitaskCV(latent_dim=1, tasks=["commitments"], hidden=[6], dim=2)
SHOTS: dict[str, Any] = {
    "regions": SIDES, "dt": 0.02, "first": 20, "batch": 10, "compile": "off",
    "fit": {"steps": 40, "members": 4, "compile": "trace"},
}  # fmt: skip


@pytest.fixture(scope="module")
def pool():
    x = np.random.default_rng(0).uniform([-1.3, -0.5], [1.3, 0.5], (150, 2))
    return bcg.data.Frames.from_numpy(x.astype(np.float32), unit="reduced", temperature_kT=SYSTEM.kT)


@pytest.fixture(scope="module")
def finished(pool, tmp_path_factory):
    path = tmp_path_factory.mktemp("active") / "run"
    return active(SYSTEM, MODEL, "shots", until={"rounds": 3}, out=path, configurations=pool, **SHOTS)


def queries(path: Path) -> list[dict]:
    return [json.loads(file.read_text()) for file in sorted(path.glob("round-*/query.json"))]


def test_rounds_add_up(finished):
    assert [r.frames for r in finished.history] == [20, 30, 40]
    assert finished.reason == "there were 3 rounds"
    rows = np.concatenate([query["rows"] for query in queries(finished.path)])
    assert len(rows) == len(set(rows)) == len(finished.frames)
    assert (np.asarray(finished.frames.commitments).sum(1) == 4).all()
    evaluations = [r.evaluations for r in finished.history]
    assert evaluations == sorted(evaluations)
    assert finished.quantity.sd == finished.history[-1].sd > 0
    assert "3 rounds" in repr(finished)


def test_a_loop_that_is_killed_goes_on_to_the_same_numbers(pool, finished, tmp_path):
    class Killed(Exception):
        pass

    def die(line: str) -> None:
        if line.startswith("round 1"):
            raise Killed

    arguments = {"until": {"rounds": 3}, "out": tmp_path / "run", "configurations": pool, **SHOTS}
    with pytest.raises(Killed):
        active(SYSTEM, MODEL, "shots", say=die, **arguments)
    before = {file: file.stat().st_mtime_ns for file in (tmp_path / "run").rglob("round-*/**/*") if file.is_file()}
    again = active(SYSTEM, MODEL, "shots", **arguments)
    assert len(before) == 8
    assert {file: file.stat().st_mtime_ns for file in before} == before  # nothing is made twice
    assert queries(again.path) == queries(finished.path)
    assert [(r.mean, r.sd, r.evaluations) for r in again.history] == [
        (r.mean, r.sd, r.evaluations) for r in finished.history
    ]
    np.testing.assert_array_equal(again.frames.commitments, finished.frames.commitments)


def test_another_loop_in_the_folder_is_refused_and_a_longer_one_is_not(pool, finished):
    other: dict[str, Any] = {**SHOTS, "batch": 9}
    with pytest.raises(CheckpointError, match="another active loop \\(different: batch, seed\\)"):
        active(SYSTEM, MODEL, until={"rounds": 3}, out=finished.path, configurations=pool, seed=1, **other)
    enough = active(SYSTEM, MODEL, until={"sd": 10.0}, out=finished.path, configurations=pool, **SHOTS)
    assert (len(enough.history), enough.reason) == (1, "its sd is at most 10")


def test_a_first_call_that_is_refused_leaves_the_folder_to_the_corrected_one(pool, tmp_path):
    """What shoots is refused, then what is fitted to the shots; a loop that has a round keeps its folder."""
    arguments: dict[str, Any] = {"until": {"rounds": 1}, "out": tmp_path, "configurations": pool}
    with pytest.raises(ConfigError, match="friction"):
        active(SYSTEM, MODEL, **arguments, **SHOTS, friction=-1.0)
    with pytest.raises(ConfigError, match="steps"):
        active(SYSTEM, MODEL, **arguments, **{**SHOTS, "fit": {"steps": 0}})
    shots = (tmp_path / "round-000" / "shots.npz").stat().st_mtime_ns
    with pytest.raises(ConfigError, match="steps"):  # the same once more: what was simulated is not made again
        active(SYSTEM, MODEL, **arguments, **{**SHOTS, "fit": {"steps": 0}})
    assert (tmp_path / "round-000" / "shots.npz").stat().st_mtime_ns == shots
    run = active(SYSTEM, MODEL, **arguments, **{**SHOTS, "first": 12})
    assert len(run.frames) == 12
    with pytest.raises(CheckpointError, match="another active loop"):
        active(SYSTEM, MODEL, **arguments, **SHOTS)


def test_a_coin_toss_on_which_all_agree_tells_nothing():
    p = np.array([[0.5, 0.0, 0.9], [0.5, 1.0, 0.1]])
    entropy = -np.log([0.5]) + 0.9 * np.log(0.9) + 0.1 * np.log(0.1)
    np.testing.assert_allclose(information(np.stack([1 - p, p], -1)), [0.0, np.log(2), entropy[0]], atol=1e-12)


class Least(Shots):
    """The negative control: what tells least, first."""

    def score(self, p: np.ndarray) -> np.ndarray:
        return 1.0 / (1e-6 + information(p))


@pytest.mark.parametrize(("kind", "more"), [(Shots, True), (Least, False)])
def test_what_is_proposed_tells_more_than_the_pool(pool, finished, kind, more):
    """Batches are drawn: over ten of them, against what all the pool tells on average."""
    told = information(bcg.experiments.acquisition.next_shots.probabilities(finished.fit, pool))
    batches = []
    for seed in range(10):
        acquisition = kind(SYSTEM, MODEL, None, seed, configurations=pool, **SHOTS)
        batches.append(acquisition.propose(finished.fit, finished.frames, finished.quantity)["rows"])
    ratio = told[np.concatenate(batches)].mean() / told.mean()
    assert ratio > 1.2 if more else ratio < 0.8


def test_a_pool_may_be_exhausted(pool, tmp_path):
    run = active(SYSTEM, MODEL, until={"rounds": 9}, out=tmp_path, configurations=pool[:25], **SHOTS)
    assert (len(run.history), len(run.frames), run.reason) == (2, 25, "nothing is left to ask")


WINDOWS: dict[str, Any] = {
    "regions": SIDES,
    "steps": 1200,
    "walkers": 4,
    "windows": 5,
    "dt": 0.02,
    "stride": 25,
    "compile": "trace",
}


def test_columns_are_added_until_a_free_energy_is_sure(pool, finished, tmp_path):
    run = active(SYSTEM, finished.fit, "windows", until={"sd": 0.2}, out=tmp_path, starts=pool, **WINDOWS)
    assert run.reason == "its sd is at most 0.2"
    assert len(run.history) > 1
    assert abs(run.quantity.mean) < 4 * run.quantity.sd  # two equal wells
    assert bcg.analysis.mixing(run.frames).mixed
    walkers = sum(query["walkers"] for query in queries(tmp_path))
    assert len(np.unique(run.frames.trajectory)) == walkers
    assert run.frames.bias is not None
    assert len(np.unique(run.frames.bias.replica)) == len(run.frames.bias.born) == 5 * walkers
    again = active(SYSTEM, finished.fit, "windows", until={"sd": 0.2}, out=tmp_path, starts=pool, **WINDOWS)
    np.testing.assert_array_equal(again.quantity.draws, run.quantity.draws)


def test_columns_that_did_not_mix_are_made_longer_and_not_counted(pool, finished, tmp_path):
    """Without exchange they never do."""
    apart = {**WINDOWS, "exchange_every": None, "steps": 200}
    run = active(SYSTEM, finished.fit, "windows", until={"sd": 1.0, "rounds": 2}, out=tmp_path, starts=pool, **apart)
    assert [query["steps"] for query in queries(tmp_path)] == [200, 400]
    assert len(np.unique(run.frames.trajectory)) == 4
    assert run.quantity.warning is not None  # so that no sd is small enough
    assert run.reason == "there were 2 rounds"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"acquire": "shoots"}, 'did you mean "shots"'),
        ({"until": {}}, "must say when to stop"),
        ({"until": {"sdd": 1.0}}, "sdd"),
        ({"until": {"sd": -1.0}}, "sd"),
        ({"quantity": "dF"}, "use one of committor, or a function"),
        ({"first": 1000}, "first=1000, but there are 150"),
        ({"regions": {"A": SIDES["A"]}}, "no region is called B"),
        ({"configurations": np.zeros((3, 2))}, "must be Frames"),
        ({"batches": 3}, 'batches= is not known here: did you mean "batch"'),
        ({"fisrt": 3}, 'fisrt= is not known here: did you mean "first"'),
        ({"fit": {"stepps": 3}}, 'stepps= is not known here: did you mean "steps"'),
        ({"model": MultitaskCV(latent_dim=1, tasks=["features"], dim=2)}, "does not learn from shots"),
        ({"quantity": lambda fit, frames: [1.0]}, "at least two finite draws"),
    ],
)
def test_what_makes_no_loop_is_refused(pool, tmp_path, change, message):
    arguments = {"model": MODEL, "until": {"rounds": 1}, "configurations": pool, **SHOTS, "out": tmp_path, **change}
    with pytest.raises(ConfigError, match=message):
        active(SYSTEM, **arguments)


def test_windows_want_a_fit_and_two_regions(pool, finished):
    with pytest.raises(ConfigError, match="along the CV of a fit"):
        Windows(SYSTEM, MODEL, None, 0, starts=pool, steps=10, dt=0.1)
    with pytest.raises(ConfigError, match="no state 'A'"):
        Windows(SYSTEM, finished.fit, None, 0, starts=pool, steps=10, dt=0.1)
    with pytest.raises(ConfigError, match="must be two"):
        Windows(SYSTEM, finished.fit, None, 0, starts=pool, steps=10, dt=0.1, regions={"A": SIDES["A"]})
