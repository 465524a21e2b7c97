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
DIPEPTIDE = str(Path(__file__).parent / "experiments" / "alanine-dipeptide.toml")
SMALL = [
    "--quick",
    *(f"--set={c}" for c in ("simulation.time=40.0", "fit.steps=20", "fit.members=3", "analysis.draws=10")),
]


def bayescg(*arguments: str | Path, **more: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "bayescg.cli", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, **more)  # type: ignore[call-overload]


@pytest.mark.parametrize("arguments", [["--help"], ["list"], ["run", "--help"]])
def test_looking_around_imports_nothing_heavy(arguments: list[str]) -> None:
    """How long it takes is in tests/benchmarks/test_starting.py."""
    done = subprocess.run(
        [sys.executable, "-X", "importtime", "-m", "bayescg.cli", *arguments],
        capture_output=True,
        text=True,
        check=True,
    )
    imported = {line.rpartition("|")[2].strip().split(".")[0] for line in done.stderr.splitlines()}
    assert not imported & {"torch", "openmm", "mdtraj", "pyro", "numpy", "matplotlib", "xarray"}


def test_list_shows_what_there_is() -> None:
    told = bayescg("list").stdout
    for name in ("alanine-dipeptide", "PredictiveCV", "alanine_dipeptide"):
        assert name in told
    assert ":math:" not in told


def test_the_version_is_told() -> None:
    assert re.fullmatch(r"bayescg \d+\.\d+\.\d+\n", bayescg("--version").stdout)


RUN = ["run", DIPEPTIDE, "--seed", "2", *SMALL]
RUN_DIRECTORY = Path("runs", "alanine-dipeptide-quick-seed2")
MISTAKES = [
    (["run", "alanine-dipeptid"], 1, 'did you mean "alanine-dipeptide"?'),
    (["run", "alanine-dipeptide", "--set", "fit.stepz=1"], 1, 'did you mean "steps"?'),
    (["run", "alanine-dipeptide", "--set", "fit.steps"], 1, "write section.key=value"),
    (["run", "alanine-dipeptide", "--device", "gpu"], 1, "'auto', 'cpu' or 'cuda'"),
    (["run", "alanine-dipeptide", "--seed", "x"], 2, "--seed"),
    (["run"], 2, "NAME|FILE.toml"),
    (["sweeep"], 2, "No such command"),
    (["sweep", "alanine-dipeptide", "--seeds", "0:2", "--set", "fit.stepz=1,2"], 1, 'did you mean "steps"?'),
    (["resume", "nowhere"], 1, "nowhere is not a run's directory: it does not exist"),
    (["report", "nowhere"], 1, "is not a run's directory"),
    (["check", "nowhere.py"], 1, "nowhere.py"),
]

IN_TURN = """
import json, os, sys
import bayescg.contract.conformance, bayescg.experiments.runner  # once, before the forks
from bayescg.cli import main

ends = []
for place, (arguments, folder) in enumerate(json.loads(sys.argv[1])):
    child = os.fork()
    if child == 0:
        os.chdir(folder)
        for number in (1, 2):
            os.dup2(os.open(f"{folder}.{place}.{number}", os.O_WRONLY | os.O_CREAT), number)
        sys.argv, status = ["bayescg", *arguments], 0
        try:
            main()
        except SystemExit as stop:
            status = stop.code
        sys.stdout.flush()
        os._exit(status)  # a second of clearing away what was imported is spared
    ends.append(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
print(json.dumps(ends))
"""


Ended = list[tuple[Path, subprocess.CompletedProcess[str]]]


@pytest.fixture(scope="module")
def ended(tmp_path_factory: pytest.TempPathFactory) -> Ended:
    """Where commands were given, and how they ended: the mistakes, the check of a broken model, a run, and it again."""
    text = (MODELS / "good.py").read_text()
    broken = tmp_path_factory.mktemp("broken") / "broken.py"
    broken.write_text(text.replace('sample("z", self.encoder', 'sample("zz", self.encoder'))
    commands = [*(arguments for arguments, _, _ in MISTAKES), ["check", str(broken)]]
    plans = [(arguments, tmp_path_factory.mktemp("command")) for arguments in commands]
    plans += [(RUN, tmp_path_factory.mktemp("finished"))] * 2
    script = [sys.executable, "-c", IN_TURN, json.dumps([(arguments, str(folder)) for arguments, folder in plans])]
    done = subprocess.run(script, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return [
        (
            folder,
            subprocess.CompletedProcess(arguments, status, *(Path(f"{folder}.{k}.{n}").read_text() for n in (1, 2))),
        )
        for k, ((arguments, folder), status) in enumerate(zip(plans, json.loads(done.stdout), strict=True))
    ]


@pytest.mark.parametrize("number", range(len(MISTAKES)), ids=lambda k: " ".join(MISTAKES[k][0]))
def test_a_mistake_is_one_message_without_traceback(ended: Ended, number: int) -> None:
    (folder, done), (_, status, told) = ended[number], MISTAKES[number]
    assert done.returncode == status
    assert told in " ".join(done.stderr.split())
    assert "Traceback" not in done.stderr
    assert "executing" not in done.stdout
    assert not list(folder.iterdir())


def test_a_checkout_that_is_not_installed_says_how_to_install(tmp_path: Path) -> None:
    shutil.copytree(ROOT / "bayescg", tmp_path / "bayescg", ignore=shutil.ignore_patterns("__pycache__", "models"))
    # -I -S: nothing of the environment, so neither the package's metadata nor its dependencies
    code = f"import sys; sys.path.insert(0, {str(tmp_path)!r}); import runpy; runpy.run_module('bayescg.cli')"
    done = subprocess.run([sys.executable, "-I", "-S", "-c", code], capture_output=True, text=True)
    assert done.returncode == 1
    assert "is not installed" in done.stderr
    assert "pip install -c constraints.txt -e ." in done.stderr
    assert "Traceback" not in done.stderr


def test_check_tells_of_a_broken_model(ended: Ended) -> None:
    """A good one with a site of its guide misspelt."""
    _, broken = ended[len(MISTAKES)]
    assert broken.stdout.startswith("executing ")
    assert broken.returncode == 1
    assert "FAILED" in broken.stdout


@pytest.mark.slow  # by default tests/models/test_contract.py asks the same of the same model, without the command
def test_check_passes_a_good_model() -> None:
    good = bayescg("check", MODELS / "good.py")
    assert good.returncode == 0
    assert "FAILED" not in good.stdout


def test_a_run_ends_with_its_quantities_warnings_and_paths(
    ended: Ended,
) -> None:
    folder, done = ended[-2]
    assert done.returncode == 0, done.stderr
    path = folder / RUN_DIRECTORY
    assert json.loads((path / "summary.json").read_text())["seed"] == 2
    for part in ("90 % interval", "rg", "warning: population of phi_positive", "predictive_check.png", "report.html"):
        assert part in done.stdout
    assert "Traceback" not in done.stderr
    table = done.stdout.partition("\nquantity ")[2].partition("warning:")[0].splitlines()
    assert max(map(len, table)) <= 80
    assert any(line.startswith("  phi_negative") for line in table), "a long name goes on below"


def test_a_finished_run_is_not_run_again(ended: Ended) -> None:
    _, again = ended[-1]
    assert again.returncode == 1
    assert "finished" in again.stderr


def started(path: Path, until: Callable[[], bool], *more: str) -> subprocess.Popen[str]:
    """A run in a process of its own, some way into its work."""
    command = [sys.executable, "-m", "bayescg.cli", "run", DIPEPTIDE, "--out", str(path), *SMALL, *more]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 60
    while not until() and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.01)
    return process


LONG_FIT = ["--set=fit.steps=400", "--set=fit.checkpoint_every=20"]


@pytest.mark.parametrize(
    ("number", "status"), [(signal.SIGINT, 130), pytest.param(signal.SIGTERM, 143, marks=pytest.mark.slow)]
)
def test_a_signal_says_what_was_saved_and_how_to_go_on(
    ended: Ended, tmp_path: Path, number: signal.Signals, status: int
) -> None:
    path, simulated = tmp_path / "run", ended[-1][0] / RUN_DIRECTORY
    shutil.copytree(simulated / "trajectories", path / "trajectories")
    shutil.copy(simulated / "config.toml", path)
    process = started(path, lambda: any((path / "checkpoint").glob("*.json")), "--seed=2", *LONG_FIT)
    process.send_signal(number)
    _, told = process.communicate(timeout=60)
    assert process.returncode == status
    assert re.search(rf"stopped by {number.name} at step \d+ of 400", told)
    assert f"bayescg resume {path}" in told
    assert "Traceback" not in told


@pytest.mark.slow  # by default: sampling/test_trajectories.py, and a signal in a fit
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


STOPS = [(m, signal.SIGINT) for m in ("rich.table", "pydantic", "torch", "bayescg.experiments.runner", "openmm")]
STOPS += [("torch", signal.SIGTERM)]
EARLY = """
import json, os, sys

class Now:
    def find_spec(self, name, *_):
        for stop in [stop for stop in stops if stop[0] == name]:
            stops.remove(stop)
            if (child := os.fork()) == 0:
                os.dup2(os.open(f"{folder}/{name}-{stop[1]}", os.O_WRONLY | os.O_CREAT), 2)
                return os.kill(os.getpid(), stop[1])
            ends.append([*stop, os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])])
            if not stops:
                os.write(1, json.dumps(ends).encode())
                os._exit(0)

folder, stops, ends = sys.argv[1], json.loads(sys.argv[2]), []
sys.meta_path.insert(0, Now())
sys.argv[1:] = sys.argv[3:]
from bayescg.cli import main
main()
"""


@pytest.fixture(scope="module")
def early(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[tuple[str, int], tuple[int, str]]]:
    """Directory of a run, and how forks of it have ended that got a signal where a module is about to be imported."""
    folder = tmp_path_factory.mktemp("early")
    arguments = [str(folder), json.dumps(STOPS), "run", DIPEPTIDE, "--out", folder / "run", *SMALL]
    done = subprocess.run([sys.executable, "-c", EARLY, *arguments], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    ends = json.loads(done.stdout[done.stdout.index("[[") :])
    return folder / "run", {(m, n): (status, (folder / f"{m}-{n}").read_text()) for m, n, status in ends}


@pytest.mark.parametrize(("module", "number"), STOPS)
def test_a_signal_in_the_first_second_says_that_it_stopped(
    early: tuple[Path, dict[tuple[str, int], tuple[int, str]]], module: str, number: signal.Signals
) -> None:
    """While the program itself is still being imported: an import that breaks off ends in any error, or in none."""
    path, ends = early
    status, told = ends[module, number]
    assert status == 128 + number
    assert told.startswith(f"stopped by {number.name}")
    assert "give the same command again" in told or f"bayescg resume {path}" in told
    assert "Traceback" not in told
    assert not list(path.parent.rglob(".*partial*"))


@pytest.mark.slow
def test_killed_again_and_again_a_run_ends_with_the_same_numbers(tmp_path: Path) -> None:
    undisturbed, path = tmp_path / "undisturbed", tmp_path / "run"
    assert bayescg("run", DIPEPTIDE, "--out", undisturbed, *SMALL, *LONG_FIT).returncode == 0
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
