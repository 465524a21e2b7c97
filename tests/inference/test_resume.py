"""A fit that is killed or stopped at any moment and gone on with ends as an undisturbed one, bit for bit."""

import errno
import importlib.util
import json
import os
import random
import shutil
import signal
import subprocess
import sys
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch

from bayescg.data import Frames
from bayescg.errors import CheckpointError, Interrupted, OutputError
from bayescg.recording.functional import state_of
from bayescg.recording.optimiser import Adam

SCRIPT = Path(__file__).with_name("killed.py")
spec = importlib.util.spec_from_file_location("killed", SCRIPT)
assert spec is not None
assert spec.loader is not None
killed = importlib.util.module_from_spec(spec)
spec.loader.exec_module(killed)

EVERY_MOMENT = [
    ("half-written", 1),  # the first checkpoint's tensors: nothing to go on from
    ("after-rename", 1),  # its tensors are there, its JSON is not
    ("half-written", 2),
    ("before-rename", 2),
    ("after-rename", 2),  # the first checkpoint is whole
    ("half-written", 3),
    ("after-step", 3),
    ("after-rename", 3),
    ("before-delete", 1),
    ("after-delete", 1),
    ("half-written", 4),
    ("after-delete", 2),
    ("after-step", 10),
]


@cache
def undisturbed(scenario: str):
    return killed.run(scenario, None)


def random_moments(count: int, seed: int, low: int = 100, high: int = 400) -> list[tuple[str, int]]:
    rng = random.Random(seed)
    return [("at-time", rng.randrange(low, high)) for _ in range(count)]


def kill(*chains: tuple[str, Path, list[tuple[str, int]]]) -> list[list[list]]:
    """How the processes of each chain have ended."""
    command = [sys.executable, str(SCRIPT), json.dumps([(name, str(path), plans) for name, path, plans in chains])]
    return json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def assert_same(fit, other) -> None:
    for a, b in ((state_of(fit.model), state_of(other.model)), (fit.weights.tensors, other.weights.tensors)):
        assert a.keys() == b.keys()
        for name, value in a.items():
            assert torch.equal(value, b[name]), name
    assert fit.log == other.log
    assert fit.diagnostics == other.diagnostics


def newest(directory: Path) -> Path:
    return max((directory / "checkpoint").glob("*.json"))


def step_of(path: Path) -> int:
    return json.loads(path.read_text())["meta"]["step"]


def check_kills(scenario: str, directory: Path, plans: list[tuple[str, int]], ends: list[list], least: int) -> None:
    assert [m for m, _, _ in ends] == [m for m, _ in plans]
    died = [code for _, code, _ in ends if code]
    assert set(died) <= {-signal.SIGKILL, -signal.SIGPROF}
    assert len(died) >= least, ends
    steps = [step for _, _, step in ends]
    assert steps == sorted(steps), "a killed process lost a checkpoint"
    assert steps[-1] > 0
    assert_same(killed.run(scenario, directory), undisturbed(scenario))


CHAINS = {
    "minibatches": (EVERY_MOMENT, 10),
    "bootstrap": (EVERY_MOMENT[3::3], 3),
    "long": ([("at-time", ms) for ms in (130, 370, 900, 1900)], 2),  # slow machines get there too
}
"""Moments at which the processes of a scenario are killed, and how many of them are at least."""


@pytest.fixture(scope="module")
def chains(tmp_path_factory) -> dict[str, tuple[Path, list[list]]]:
    """Directory of each of `CHAINS`, and of one whose process is told to stop, and how their processes have ended."""
    base = tmp_path_factory.mktemp("chains")
    parts = [(name, base / name, plans) for name, (plans, _) in CHAINS.items()]
    parts.append(("long", base / "terminated", [("told-to-stop", 40)]))
    return {path.name: (path, ends) for (_, path, _), ends in zip(parts, kill(*parts), strict=True)}


@pytest.mark.parametrize("scenario", CHAINS)
def test_killed_in_the_middle_of_a_checkpoint_or_at_random(chains, scenario):
    directory, ends = chains[scenario]
    plans, least = CHAINS[scenario]
    check_kills(scenario, directory, plans, ends, least)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("scenario", list(killed.SCENARIOS))
def test_killed_at_many_moments(tmp_path, scenario, seed):
    plans = EVERY_MOMENT + random_moments(19, seed, 10, 120)
    random.Random(seed).shuffle(plans)
    # a fit is over after so many; the next chain starts another one
    parts = [(scenario, tmp_path / str(k), [("after-rename", 2), *plans[k : k + 8]]) for k in range(0, len(plans), 8)]
    for part, ends in zip(parts, kill(*parts), strict=True):
        check_kills(*part, ends, least=1)


def test_the_comparison_can_fail(tmp_path):
    """Negative control: another seed gives other parameters, so equality above is not for want of difference."""
    with pytest.raises(AssertionError):
        assert_same(undisturbed("all frames"), killed.run("all frames", None, seed=4))


def test_a_process_is_terminated_and_this_one_goes_on(chains):
    directory, [(_, code, step)] = chains["terminated"]
    assert code == 3
    said = (directory / "said").read_text()
    assert "stopped by SIGTERM" in said
    assert f"at step {step} of 240" in said
    assert_same(killed.run("long", directory), undisturbed("long"))


def in_step(patch: pytest.MonkeyPatch, count: int, action) -> None:
    """Do something in the middle of the given optimiser step."""
    plain, left = Adam.step, [count]

    def step(self, *args):
        left[0] -= 1
        if left[0] == 0:
            action()
        plain(self, *args)

    patch.setattr(Adam, "step", step)


@pytest.fixture
def at_step(monkeypatch):
    return lambda count, action: in_step(monkeypatch, count, action)


@pytest.mark.parametrize(
    ("scenario", "number"),
    [("minibatches", signal.SIGTERM), ("minibatches", signal.SIGINT), ("bootstrap", signal.SIGTERM)],
)
def test_a_signal_saves_and_the_same_call_goes_on(tmp_path, at_step, scenario, number):
    before = signal.getsignal(number)
    at_step(17, lambda: os.kill(os.getpid(), number))
    with pytest.raises(Interrupted, match=rf"{number.name} at step 17 of 30; the state is in .*run again"):
        killed.run(scenario, tmp_path)
    assert signal.getsignal(number) is before
    assert step_of(newest(tmp_path)) == 17
    assert_same(killed.run(scenario, tmp_path), undisturbed(scenario))


def test_a_signal_without_a_run_directory_says_that_nothing_was_saved(at_step):
    at_step(5, lambda: os.kill(os.getpid(), signal.SIGTERM))
    with pytest.raises(Interrupted, match="nothing was saved"):
        killed.run("all frames", None)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_before_the_first_step_says_that_nothing_was_trained(tmp_path, monkeypatch, number):
    """Of a first start, and of one that has a checkpoint to go on from."""
    killed.run("minibatches", tmp_path, steps=12)
    before = signal.getsignal(number)
    for directory, steps, words in ((None, 30, "Nothing was trained yet"), (tmp_path, 12, f"go on from {tmp_path}")):
        monkeypatch.setattr("bayescg.inference.job.compile_step", lambda *_, **__: os.kill(os.getpid(), number))
        with pytest.raises(Interrupted, match=rf"(?s)stopped by {number.name}.*{words}.* run again") as stopped:
            killed.run("minibatches", directory, steps=steps)
        assert stopped.value.number == number
        assert signal.getsignal(number) is before


def test_a_signal_after_the_last_step_says_where_the_state_is(tmp_path, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr("bayescg.inference.run.result", lambda *_: os.kill(os.getpid(), signal.SIGTERM))
        with pytest.raises(Interrupted, match=rf"(?s)SIGTERM.*All steps were done; their state is in {tmp_path}"):
            killed.run("minibatches", tmp_path)
    assert_same(killed.run("minibatches", tmp_path), undisturbed("minibatches"))


def test_a_finished_fit_is_not_trained_again(tmp_path, at_step):
    first = killed.run("minibatches", tmp_path)
    at_step(1, lambda: pytest.fail("it trained again"))
    assert_same(killed.run("minibatches", tmp_path), first)


@pytest.fixture(scope="module")
def at_step_17(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("interrupted") / "run"
    with pytest.MonkeyPatch.context() as patch:
        in_step(patch, 17, lambda: os.kill(os.getpid(), signal.SIGTERM))
        with pytest.raises(Interrupted):
            killed.run("minibatches", path)
    return path


@pytest.fixture
def interrupted(at_step_17, tmp_path) -> Path:
    """A copy of the directory of a fit that was stopped at step 17."""
    return Path(shutil.copytree(at_step_17, tmp_path / "run"))


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def other_version(path: Path) -> None:
    path = path.with_suffix(".json")
    path.write_text(path.read_text().replace('"schema": 1', '"schema": 99'))


@pytest.mark.parametrize(
    ("damage", "suffix"),
    [
        (flip, ".json"),
        (truncate, ".safetensors"),
        (other_version, ".json"),
        (Path.unlink, ".json"),
        (Path.unlink, ".safetensors"),
        pytest.param(flip, ".safetensors", marks=pytest.mark.slow),
        pytest.param(truncate, ".json", marks=pytest.mark.slow),
    ],
)
def test_a_damaged_checkpoint_is_refused_and_the_one_before_used(interrupted, damage, suffix):
    path = newest(interrupted)
    damage(path.with_suffix(suffix))
    if damage is Path.unlink and suffix == ".json":
        again = killed.run("minibatches", interrupted)  # without its JSON there is no such checkpoint
    else:
        with pytest.warns(UserWarning, match=rf"{path.stem}.*the checkpoint before it, step-0+15\.json, is used"):
            again = killed.run("minibatches", interrupted)
    assert_same(again, undisturbed("minibatches"))


@pytest.mark.parametrize(
    "damage", [flip, *(pytest.param(other, marks=pytest.mark.slow) for other in (truncate, other_version))]
)
def test_when_every_checkpoint_is_damaged_nothing_is_started_in_silence(interrupted, damage):
    paths = list((interrupted / "checkpoint").glob("*.json"))
    assert len(paths) == 2
    for path in paths:
        damage(path)
    with pytest.raises(CheckpointError, match=r"no usable checkpoint: .*resume=False") as caught:
        killed.run("minibatches", interrupted)
    for path in paths:
        assert path.stem in str(caught.value)
    assert_same(killed.run("minibatches", interrupted, resume=False), undisturbed("minibatches"))


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ({"seed": 4}, "another seed"),
        ({"steps": 31}, "another steps"),
        ({"batch_size": 8}, "another batch size"),
        ({"validation": 0.3}, "another validation"),
        ({"learning_rate": 1e-3}, "another learning rate"),
        ({"clip": 1.0}, "another clip"),
        ({"uncertainty": "mean-field"}, "another uncertainty"),
    ],
)
def test_other_settings_are_refused(interrupted, more, words):
    with pytest.raises(CheckpointError, match=f"{words}.*resume=False"):
        killed.run("minibatches", interrupted, **more)


def test_another_number_of_members_is_refused(tmp_path):
    killed.run("bootstrap", tmp_path, steps=2)
    with pytest.raises(CheckpointError, match="another members"):
        killed.run("bootstrap", tmp_path, steps=2, members=5)


def test_another_model_or_data_set_is_refused(tmp_path):
    import bayescg as bcg
    from bayescg.models import PredictiveCV

    def run(hidden=(4,), shift=0.0):
        x = np.random.default_rng(0).normal(size=(30, 3)) + shift
        frames = Frames.from_numpy(x, unit="reduced", temperature_kT=1.0)
        return bcg.fit(PredictiveCV(latent_dim=1, hidden=hidden), frames, steps=3, uncertainty="none", run_dir=tmp_path)

    run()
    with pytest.raises(CheckpointError, match="another model "):
        run(hidden=(5,))
    with pytest.raises(CheckpointError, match="another data"):
        run(shift=1e-3)


def test_starting_anew_leaves_nothing_of_the_old_fit(tmp_path, at_step):
    killed.run("minibatches", tmp_path, seed=4)  # ends at step 30
    at_step(20, lambda: os.kill(os.getpid(), signal.SIGTERM))
    with pytest.raises(Interrupted):
        killed.run("minibatches", tmp_path, resume=False)
    assert step_of(newest(tmp_path)) == 20
    assert_same(killed.run("minibatches", tmp_path), undisturbed("minibatches"))


@pytest.mark.parametrize("count", [5, 6])  # the third checkpoint's tensors, and its JSON
def test_a_full_disk_leaves_the_checkpoint_before(tmp_path, monkeypatch, count):
    plain, left = os.fsync, [count]

    def full(descriptor):
        left[0] -= 1
        if left[0] == 0:
            raise OSError(errno.ENOSPC, "No space left on device")
        plain(descriptor)

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(OutputError, match=r"cannot write .*step-0+9.*No space left.*unchanged"):
            killed.run("minibatches", tmp_path)
    assert step_of(newest(tmp_path)) == 6
    assert not list(tmp_path.rglob("*.partial"))
    assert_same(killed.run("minibatches", tmp_path), undisturbed("minibatches"))


def test_a_directory_that_cannot_be_made_is_an_output_error(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="cannot write"):
        killed.run("all frames", tmp_path / "file")


def test_the_loss_log_is_written(tmp_path):
    fit = killed.run("minibatches", tmp_path)
    rows = (tmp_path / "loss.csv").read_text().splitlines()
    assert rows[0] == "step,loss,training,validation"
    assert len(rows) == 1 + len(fit.log)
    assert rows[-1].startswith("30,")
