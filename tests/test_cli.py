import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
MODELS = Path(__file__).parent / "models" / "third_party"
SMALL = [
    "--quick",
    *(f"--set={c}" for c in ("simulation.time=40.0", "fit.steps=20", "fit.members=3", "analysis.draws=10")),
]


def bayescg(*arguments: str | Path, **more: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "bayescg.cli", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, **more)  # type: ignore[call-overload]


@pytest.mark.parametrize("arguments", [["--help"], ["list"], ["run", "--help"]])
def test_looking_around_takes_less_than_a_second_and_imports_nothing_heavy(arguments: list[str]) -> None:
    seconds = []
    for _ in range(3):
        started = time.perf_counter()
        done = bayescg(*arguments)
        seconds.append(time.perf_counter() - started)
        assert done.returncode == 0
    assert min(seconds) < 1.0
    told = subprocess.run(
        [sys.executable, "-X", "importtime", "-m", "bayescg.cli", *arguments],
        capture_output=True,
        text=True,
        check=True,
    ).stderr
    imported = {line.rpartition("|")[2].strip().split(".")[0] for line in told.splitlines()}
    assert not imported & {"torch", "openmm", "mdtraj", "pyro", "numpy", "matplotlib", "xarray"}


def test_list_shows_what_there_is() -> None:
    told = bayescg("list").stdout
    for name in ("alanine-dipeptide", "PredictiveCV", "alanine_dipeptide"):
        assert name in told
    assert ":math:" not in told


def test_the_version_is_told() -> None:
    assert re.fullmatch(r"bayescg \d+\.\d+\.\d+\n", bayescg("--version").stdout)


@pytest.mark.parametrize(
    ("arguments", "status", "told"),
    [
        (["run", "alanine-dipeptid"], 1, 'did you mean "alanine-dipeptide"?'),
        (["run", "alanine-dipeptide", "--set", "fit.stepz=1"], 1, 'did you mean "steps"?'),
        (["run", "alanine-dipeptide", "--set", "fit.steps"], 1, "write section.key=value"),
        (["run", "alanine-dipeptide", "--device", "gpu"], 1, "'auto', 'cpu' or 'cuda'"),
        (["run", "alanine-dipeptide", "--seed", "x"], 2, "--seed"),
        (["run"], 2, "NAME|FILE.toml"),
        (["sweeep"], 2, "No such command"),
        (["resume", "nowhere"], 1, "nowhere is not a run's directory: it does not exist"),
        (["report", "nowhere"], 1, "is not a run's directory"),
        (["check", "nowhere.py"], 1, "nowhere.py"),
    ],
)
def test_a_mistake_is_one_message_without_traceback(
    arguments: list[str], status: int, told: str, tmp_path: Path
) -> None:
    done = bayescg(*arguments, cwd=tmp_path)
    assert done.returncode == status
    assert told in " ".join(done.stderr.split())
    assert "Traceback" not in done.stderr
    assert "executing" not in done.stdout
    assert not list(tmp_path.iterdir())


def test_a_checkout_that_is_not_installed_says_how_to_install(tmp_path: Path) -> None:
    shutil.copytree(ROOT / "bayescg", tmp_path / "bayescg", ignore=shutil.ignore_patterns("__pycache__", "models"))
    # -I -S: nothing of the environment, so neither the package's metadata nor its dependencies
    code = f"import sys; sys.path.insert(0, {str(tmp_path)!r}); import runpy; runpy.run_module('bayescg.cli')"
    done = subprocess.run([sys.executable, "-I", "-S", "-c", code], capture_output=True, text=True)
    assert done.returncode == 1
    assert "is not installed" in done.stderr
    assert "pip install -c constraints.txt -e ." in done.stderr
    assert "Traceback" not in done.stderr


def test_check_tells_of_a_broken_model(tmp_path: Path) -> None:
    """A good one with a site of its guide misspelt."""
    text = (MODELS / "good.py").read_text()
    (tmp_path / "broken.py").write_text(text.replace('sample("z", self.encoder', 'sample("zz", self.encoder'))
    broken = bayescg("check", tmp_path / "broken.py")
    assert broken.stdout.startswith("executing ")
    assert broken.returncode == 1
    assert "FAILED" in broken.stdout


@pytest.mark.slow  # by default tests/models/test_contract.py asks the same of the same model, without the command
def test_check_passes_a_good_model() -> None:
    good = bayescg("check", MODELS / "good.py")
    assert good.returncode == 0
    assert "FAILED" not in good.stdout


def test_a_run_ends_with_its_quantities_warnings_and_paths(tmp_path: Path) -> None:
    done = bayescg("run", "alanine-dipeptide", "--seed", "2", *SMALL, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    path = tmp_path / "runs" / "alanine-dipeptide-quick-seed2"
    assert json.loads((path / "summary.json").read_text())["seed"] == 2
    for part in ("90 % interval", "rg", "warning: population of phi_positive", "predictive_check.png", "report.html"):
        assert part in done.stdout
    assert "Traceback" not in done.stderr
    table = done.stdout.partition(" quantity")[2].partition("warning:")[0].splitlines()
    assert max(map(len, table)) <= 80
    assert any(line.startswith("   phi_negative") for line in table), "a long name goes on below"
    again = bayescg("run", "alanine-dipeptide", "--seed", "2", *SMALL, cwd=tmp_path)
    assert again.returncode == 1
    assert "finished" in again.stderr


def started(path: Path, until: Callable[[], bool], *more: str) -> subprocess.Popen[str]:
    """A run in a process of its own, some way into its work."""
    command = [sys.executable, "-m", "bayescg.cli", "run", "alanine-dipeptide", "--out", str(path), *SMALL, *more]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 60
    while not until() and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.01)
    return process


LONG_FIT = ["--set=fit.steps=400", "--set=fit.checkpoint_every=20"]


@pytest.mark.parametrize(
    ("number", "status"), [(signal.SIGINT, 130), pytest.param(signal.SIGTERM, 143, marks=pytest.mark.slow)]
)
def test_a_signal_says_what_was_saved_and_how_to_go_on(tmp_path: Path, number: signal.Signals, status: int) -> None:
    path = tmp_path / "run"
    process = started(path, lambda: any((path / "checkpoint").glob("*.json")), *LONG_FIT)
    process.send_signal(number)
    _, told = process.communicate(timeout=60)
    assert process.returncode == status
    assert re.search(rf"stopped by {number.name} at step \d+ of 400", told)
    assert f"bayescg resume {path}" in told
    assert "Traceback" not in told


def test_a_signal_during_the_simulation_leaves_no_worker(tmp_path: Path) -> None:
    path = tmp_path / "run"
    process = started(
        path, lambda: any((path / "trajectories").glob(".*.partial.xtc")), "--set=simulation.time=50000.0"
    )
    process.send_signal(signal.SIGTERM)
    _, told = process.communicate(timeout=60)
    assert process.returncode == 143
    assert f"bayescg resume {path}" in told
    assert "Traceback" not in told
    assert not list((path / "trajectories").glob(".*.partial.xtc"))


EARLY = """
import os, signal, sys

class Now:
    def find_spec(self, name, *_):
        if name == {module!r}:
            os.kill(os.getpid(), signal.{number})

sys.meta_path.insert(0, Now())
from bayescg.cli import main
main()
"""


@pytest.mark.parametrize("module", ["rich.table", "pydantic", "torch", "bayescg.experiments.runner", "openmm"])
def test_a_signal_in_the_first_second_says_that_it_stopped(tmp_path: Path, module: str) -> None:
    """While the program itself is still being imported: an import that breaks off ends in any error, or in none."""
    code = EARLY.format(module=module, number="SIGINT")
    command = [sys.executable, "-c", code, "run", "alanine-dipeptide", "--out", tmp_path / "run", *SMALL]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 130
    assert done.stderr.startswith("stopped by SIGINT")
    assert "give the same command again" in done.stderr or f"bayescg resume {tmp_path / 'run'}" in done.stderr
    assert "Traceback" not in done.stderr
    assert not list(tmp_path.rglob(".*partial*"))


def test_a_termination_in_the_first_second_has_its_own_status(tmp_path: Path) -> None:
    code = EARLY.format(module="torch", number="SIGTERM")
    command = [sys.executable, "-c", code, "run", "alanine-dipeptide", *SMALL]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path)
    assert (done.returncode, done.stderr.partition(".")[0]) == (143, "stopped by SIGTERM")


@pytest.mark.slow
def test_killed_again_and_again_a_run_ends_with_the_same_numbers(tmp_path: Path) -> None:
    undisturbed, path = tmp_path / "undisturbed", tmp_path / "run"
    assert bayescg("run", "alanine-dipeptide", "--out", undisturbed, *SMALL, *LONG_FIT).returncode == 0
    moments: list[Callable[[], bool]] = [
        lambda: (path / ".lock").exists(),
        lambda: any((path / "trajectories").glob("*.xtc")),
        lambda: len(list((path / "checkpoint").glob("*.json"))) > 1,
        lambda: (path / "fit" / "fit.json").exists(),
        lambda: any((path / "figures").glob("*.png")),
    ]
    for moment in moments:
        process = started(path, moment, *LONG_FIT)
        os.kill(process.pid, signal.SIGKILL)
        process.communicate()
    assert not (path / "summary.json").exists()
    done = bayescg("resume", path)
    assert done.returncode == 0, done.stderr
    first, last = (json.loads((p / "summary.json").read_text()) for p in (undisturbed, path))
    for key in ("quantities", "diagnostics", "kind", "compiled"):
        assert first[key] == last[key]
