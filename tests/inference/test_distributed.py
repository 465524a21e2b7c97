"""Several processes train what one does, and losing one of them costs nothing but the time until it is noticed."""

import importlib.util
import json
import random
import re
import signal
import subprocess
import sys
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import bayescg as bcg
from bayescg.errors import ConfigError, ModelError
from bayescg.inference import distributed
from bayescg.models import PredictiveCV

SCRIPT = Path(__file__).with_name("processes.py")
spec = importlib.util.spec_from_file_location("processes", SCRIPT)
assert spec is not None
assert spec.loader is not None
processes = importlib.util.module_from_spec(spec)
spec.loader.exec_module(processes)

KILL, TERMINATE, FREEZE = signal.SIGKILL, signal.SIGTERM, signal.SIGSTOP


def torchrun(count: int, *arguments: str) -> subprocess.CompletedProcess:
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={count}"]
    return subprocess.run([*command, str(SCRIPT), *arguments], capture_output=True, text=True, check=False, timeout=300)


def fitted(directory: Path, count: int, names: list[str]) -> dict[str, dict]:
    """What came of the fits of those names on `count` processes."""
    done = torchrun(count, str(directory / "found.json"), *names)
    assert done.returncode == 0, done.stderr
    return json.loads((directory / "found.json").read_text())


@cache
def alone(name: str) -> dict:
    """What comes of the fit of that name on one process."""
    return processes.outcome(name)


def difference(found: dict, name: str) -> float:
    """Largest difference of a fit's parameters and losses from those of one process, where above 1 relative to them."""
    expected = alone(name)
    assert found.get("error") is None, found["error"]
    assert found["mode"] == expected["mode"]
    assert found["tensors"].keys() == expected["tensors"].keys()
    pairs = [(found["tensors"][k], v) for k, v in expected["tensors"].items()]
    pairs += [([r[k] for r in found["log"]], [r[k] for r in expected["log"]]) for k in expected["log"][0]]
    arrays = [(np.asarray(a, float), np.asarray(b, float)) for a, b in pairs]
    return max(float((np.abs(a - b) / np.abs(b).clip(1.0)).max()) for a, b in arrays)


EQUAL = ["traced", "iwae", "no frames", "drifting", "pairs"]
MORE = ["none", "mean-field", "all frames", "single precision", "bootstrap", "traced iwae"]
MORE += ["iwae mean-field", "iwae bootstrap", "auto"]
REFUSED = {
    "counted whole": r"ModelError: the buffer seen .* is not the mean of those of its parts",
    "another seed": r"ConfigError: .* the same arguments in each of its 2 processes",
    "not finite": r"FitError: the loss is not finite at step 1",
    "skewed": r"ModelError: the programs draw from _standard_gamma for each frame",
}


@pytest.fixture(scope="module")
def two(carried) -> dict[str, dict]:
    """What came of the fits on two processes."""
    directory, (ends,) = carried["two"]
    assert ends == [[0, ""], [0, ""]]
    return json.loads((directory / "found.json").read_text())


@pytest.mark.parametrize("name", EQUAL)
def test_two_processes_train_what_one_does(two, name):
    assert two[name]["processes"] == 2
    assert difference(two[name], name) <= 1e-12


@pytest.mark.parametrize("name", REFUSED)
def test_what_two_processes_would_do_otherwise_is_refused_in_both(two, name):
    assert re.match(REFUSED[name], two[name]["error"]), two[name]["error"]


def test_the_comparison_can_fail(two):
    """Negative control: another seed gives other parameters."""
    fit = processes.run("iwae", seed=4)
    other = {k: v.tolist() for k, v in fit.weights.point.items()}
    assert difference({**two["iwae"], "tensors": other}, "iwae") > 1e-3


@pytest.mark.slow
@pytest.mark.parametrize(
    ("count", "names"),
    [
        (3, [*EQUAL, *MORE]),
        (2, [*MORE, "inductor", "inductor iwae bootstrap"]),
    ],
)
def test_in_every_mode_and_number(tmp_path, count, names):
    found = fitted(tmp_path, count, names)
    differences = {name: difference(found[name], name) for name in names}
    single = {"single precision": 1e-6}
    assert all(d <= single.get(name, 1e-12) for name, d in differences.items()), differences


def plan(name: str, count: int, directory: Path, end: list | None = None, **more) -> dict:
    return {"name": name, "count": count, "directory": str(directory), **({"end": end} if end else {}), **more}


def carry_out(*plans: dict) -> list[list]:
    command = [sys.executable, str(SCRIPT), json.dumps(plans)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=600)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])  # before it, what gloo of torch 2.10 prints


PLANS = {
    "before the exchange": [("long", 2, [1, "sum", 30, KILL])],
    "process 0": [("refits", 2, [0, "step", 16, KILL])],
    "while it writes": [("long", 2, [0, "write", 3, KILL])],
    "of three": [("long", 3, [0, "step", 16, KILL])],
    "frozen": [("long", 2, [1, "step", 16, FREEZE])],
    "told to stop": [
        ("long", 2, [1, "step", 10, TERMINATE]),
        ("long", 1, [0, "step", 10, TERMINATE]),
        ("long", 2, None),
    ],
}
REACHED = {"before the exchange": None, "while it writes": 14}
SLOW = ("while it writes", "of three")
"""Plans that are carried out where slow tests are."""


@pytest.fixture(scope="module")
def carried(request: pytest.FixtureRequest, tmp_path_factory) -> dict[str, tuple[Path, Any]]:
    """Directory of each of the `PLANS` asked of and of the fits on two processes, and how the processes have ended."""
    base = tmp_path_factory.mktemp("plans")
    items = [item for item in request.session.items if "carried" in getattr(item, "fixturenames", ())]
    slow = any(item.get_closest_marker("slow") for item in items)
    chains = {key: steps for key, steps in PLANS.items() if slow or key not in SLOW}
    plans = [{"names": [*EQUAL, *REFUSED], "count": 2, "directory": str(base / "two")}]
    plans += [
        plan(name, count, base / key, end, **({"patience": 1.5} if key == "frozen" else {}))
        for key, steps in chains.items()
        for name, count, end in steps
    ]
    first, *others = carry_out(*plans)
    ends = iter(others)
    return {"two": (base / "two", [first])} | {
        key: (base / key, [next(ends) for _ in steps]) for key, steps in chains.items()
    }


def reached(directory: Path) -> int:
    return max(int(p.stem.split("-")[1]) for p in (directory / "checkpoint").glob("*.json"))


def assert_as_undisturbed(name: str, directory: Path) -> None:
    """The fit in a directory, gone on with in this process, ends as one that was left alone."""
    fit = processes.run(name, directory)
    tensors = {**fit.weights.point, **{f"posterior/{k}": v for k, v in fit.weights.tensors.items()}}
    found = {"tensors": {k: v.tolist() for k, v in tensors.items()}, "log": fit.log, "mode": "off"}
    assert difference(found, name) <= 1e-12


LOST = (
    r"process {survivor} of 2 has lost another \(.+\): it was killed, .* at step {step} of \d+\. The state is in "
    r"{directory}, run again, on any number of processes, to go on from it"
)


@pytest.mark.parametrize(
    "moment", ["before the exchange", "process 0", pytest.param("while it writes", marks=pytest.mark.slow)]
)
def test_a_killed_process_ends_the_fit_with_its_state_saved(carried, moment):
    directory, (ends,) = carried[moment]
    ((name, _, (victim, *_)),) = PLANS[moment]
    assert ends[victim] == [-KILL, ""]
    code, said = ends[1 - victim]
    assert code == 1
    step = REACHED.get(moment, 16) or reached(directory)
    expected = LOST.format(survivor=1 - victim, step=step, directory=re.escape(str(directory)))
    assert re.match(f"FitError: {expected}", said)
    assert reached(directory) == step
    if moment != "while it writes":
        assert step % 7, "the checkpoint is one of those that are written anyway"
    assert_as_undisturbed(name, directory)


@pytest.mark.slow
def test_under_torchrun_too(tmp_path):
    """After a step."""
    done = torchrun(2, json.dumps(plan("long", 2, tmp_path, [1, "step", 16, KILL])))
    assert done.returncode == 1
    assert re.search(LOST.format(survivor=0, step=31, directory=re.escape(str(tmp_path))), done.stderr)
    assert reached(tmp_path) == 16
    assert_as_undisturbed("long", tmp_path)


@pytest.mark.slow
def test_of_two_that_are_left_both_say_so_and_one_saves(carried):
    directory, ((killed, *left),) = carried["of three"]
    assert killed == [-KILL, ""]
    assert [code for code, _ in left] == [1, 1]
    assert all("has lost another" in said and "The state is in" in said for _, said in left)
    assert reached(directory) == 16
    assert_as_undisturbed("long", directory)


def test_a_process_that_no_longer_answers_is_given_up(carried):
    directory, (((code, said), _),) = carried["frozen"]
    assert code == 1
    assert "has lost another (no answer for 2 s)" in said
    assert reached(directory) == 16
    assert_as_undisturbed("long", directory)


def test_a_fit_goes_on_with_another_number_of_processes(carried):
    """Two are told to stop, by a signal to one of them; one goes on and is told to stop; two end it."""
    directory, (first, second, third) = carried["told to stop"]
    assert [code for code, _ in first] == [1, 1]
    where = rf"at step 11 of 30; the state is in {re.escape(str(directory))}"
    assert re.match(rf"Interrupted: stopped by a signal to another process {where}", first[0][1])
    assert re.match(rf"Interrupted: stopped by SIGTERM {where}", first[1][1])
    assert "Interrupted: stopped by SIGTERM at step 21 of 30" in second[0][1]
    assert third == [[0, ""], [0, ""]]
    assert_as_undisturbed("long", directory)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("name", ["long", "refits"])
def test_killed_at_random_moments(tmp_path, name, seed):
    rng = random.Random(seed)
    plans = [plan(name, rng.choice([2, 2, 3]), tmp_path, [rng.choice([0, 1]), "time", rng.randrange(100, 900), KILL])]
    plans += [{**plans[0], "count": 2, "end": [1 - plans[0]["end"][0], "time", rng.randrange(100, 900), KILL]}]
    for p, ends in zip(plans, carry_out(*plans), strict=True):
        codes = [code for code, _ in ends]
        assert codes[p["end"][0]] in (0, -signal.SIGALRM)
        assert set(codes) <= {0, 1, -signal.SIGALRM}
    assert_as_undisturbed(name, tmp_path)


@pytest.fixture
def launched(monkeypatch):
    """The environment of a process that torchrun has started."""
    for name, value in {"RANK": 0, "LOCAL_RANK": 0, "WORLD_SIZE": 2, "MASTER_PORT": 1}.items():
        monkeypatch.setenv(name, str(value))
    monkeypatch.setenv("MASTER_ADDR", "127.0.0.1")


def test_one_process_of_torchrun_is_none_of_several(launched, monkeypatch):
    assert distributed.launched()
    monkeypatch.setenv("WORLD_SIZE", "1")
    assert not distributed.launched()


def test_without_fabric_the_error_says_what_to_install(launched, monkeypatch):
    monkeypatch.setitem(sys.modules, "lightning_fabric", None)
    with pytest.raises(ConfigError, match=r"torchrun started 2 processes.*pip install 'bayescg\[distributed\]'"):
        processes.run("none")


def test_a_loss_that_couples_frames_is_refused(launched, toy_frames):
    class Coupled(PredictiveCV):
        additive = False

    with pytest.raises(ModelError, match=r"Coupled couples the frames.*2 processes.*in one process"):
        bcg.fit(Coupled(latent_dim=1), toy_frames(), steps=2)
