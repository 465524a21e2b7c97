"""Whether seeds agree, and the command that asks."""

import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.stats import chi2
from typer.testing import CliRunner

import bayescg as bcg
from bayescg.cli import app
from bayescg.errors import ConfigError
from bayescg.experiments import load
from bayescg.experiments.many.combinations import grid
from bayescg.experiments.many.sweep import agreement, collect, disagreements
from bayescg.experiments.settings import to_toml
from bayescg.many.jobs import name_of


def quantity(mean: float | None, sd: float | None, truth: float | None = None) -> dict[str, Any]:
    interval = None if mean is None or sd is None else [mean - 1.645 * sd, mean + 1.645 * sd]
    return {"unit": "kT", "mean": mean, "sd": sd, "ci90": interval, "truth": truth}


def replicates(count: int, quoted: float) -> list[dict[str, Any]]:
    """Agreement of 8 runs with error bars of different sizes, each `quoted` times the true one."""
    rng = np.random.default_rng(0)
    sd = rng.uniform(0.5, 2.0, (count, 8))
    mean = 3.0 + sd * rng.normal(size=sd.shape)
    return [
        agreement([quantity(float(m), float(quoted * s), 3.0) for m, s in zip(ms, ss, strict=True)])
        for ms, ss in zip(mean, sd, strict=True)
    ]


def test_seeds_with_right_error_bars_disagree_as_often_as_p_says() -> None:
    found = replicates(4000, 1.0)
    for level in (0.05, 0.5, 0.9):
        share = np.mean([f["p"] < level for f in found])
        assert abs(share - level) < 4 * np.sqrt(level * (1 - level) / 4000)
    assert abs(np.mean([f["chi2"] for f in found]) - 7) < 4 * np.sqrt(14 / 4000)
    assert abs(np.mean([f["covered"] for f in found]) - 7.2) < 4 * np.sqrt(8 * 0.09 / 4000)
    tables = [dict(enumerate(found[i : i + 10])) for i in range(0, 4000, 10)]
    false_alarms = sum(bool(disagreements({str(k): v for k, v in t.items()})) for t in tables)
    assert false_alarms <= 12  # 4 of 400 are expected, and 12 exceeded once in 5000


def test_seeds_with_error_bars_half_as_wide_are_found_out() -> None:
    """Negative control, as often as the distribution of chi2 says."""
    found = replicates(1000, 0.5)
    power = chi2.sf(chi2.isf(0.01, 7) / 4, 7)  # 0.71
    share = np.mean([disagreements({"q": f}) == ["q"] for f in found])
    assert abs(share - power) < 4 * np.sqrt(power * (1 - power) / 1000)


def test_runs_without_an_interval_count_in_the_mean_only() -> None:
    found = agreement([quantity(1.0, 0.1), quantity(3.0, None), quantity(None, None)])
    assert (found["mean"], found["sd"], found["intervals"], found["p"]) == (2.0, 0.1, 1, None)
    assert found["spread"] == pytest.approx(np.sqrt(2))
    nothing = agreement([quantity(None, None)])
    assert (nothing["mean"], nothing["sd"], nothing["ci90"], nothing["spread"]) == (None, None, None, None)


def test_runs_that_differ_in_their_seeds_stand_together() -> None:
    settings = grid("0:3", ["fit.steps=10,20"])
    assert [one["seed"] for one in settings] == [0, 1, 2, 0, 1, 2]
    results = [
        {"quantities": {"q": quantity(float(i), 1.0)}, "diagnostics": {"warnings": ["w"] * (i % 2)}} for i in range(6)
    ]
    found = collect(settings, [*results[:5], None])
    assert [g["settings"] for g in found] == [{"fit.steps": 10}, {"fit.steps": 20}]
    assert [g["seeds"] for g in found] == [[0, 1, 2], [0, 1]]
    assert [g["quantities"]["q"]["mean"] for g in found] == [1.0, 3.5]
    assert [g["warnings"] for g in found] == [1, 1]
    assert [g["common_warnings"] for g in found] == [["1 of 3 runs: w"], ["1 of 2 runs: w"]]


@pytest.mark.parametrize(
    ("seeds", "changes", "told"),
    [
        ("3", [], [{"seed": 3}]),
        ("3,7", [], [{"seed": 3}, {"seed": 7}]),
        ("0:1", ["a.b=1.5,x"], [{"seed": 0, "a.b": 1.5}, {"seed": 0, "a.b": "x"}]),
        ("0:1", ["a.b='x,y',[1, 2]"], [{"seed": 0, "a.b": "x,y"}, {"seed": 0, "a.b": [1, 2]}]),
        ("0:1", ["a.b={ c = 1, d = 2 }"], [{"seed": 0, "a.b": {"c": 1, "d": 2}}]),
    ],
)
def test_a_grid(seeds: str, changes: list[str], told: list[dict[str, Any]]) -> None:
    assert grid(seeds, changes) == told


@pytest.mark.parametrize(
    ("seeds", "changes", "told"),
    [
        ("x", [], "write 0:20 for the seeds 0 to 19"),
        ("-1:3", [], "write 0:20"),
        ("3:3", [], "there is no seed in it"),
        ("0:2", ["fit.steps"], "write section.key=a,b,c"),
        ("0:2", ["fit.steps="], "write section.key=a,b,c"),
        ("0:2", ["fit.steps=1", "fit.steps=2"], "given twice"),
    ],
)
def test_a_grid_that_cannot_be_read(seeds: str, changes: list[str], told: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(told)):
        grid(seeds, changes)


def test_help_imports_nothing_heavy() -> None:
    command = [sys.executable, "-X", "importtime", "-m", "bayescg.cli", "sweep", "--help"]
    told = subprocess.run(command, capture_output=True, text=True, check=True).stderr
    imported = {line.rpartition("|")[2].strip().split(".")[0] for line in told.splitlines()}
    assert not imported & {"torch", "openmm", "mdtraj", "pyro", "numpy", "scipy", "distributed"}


def test_the_table_of_finished_runs_and_its_file(tmp_path: Path) -> None:
    for seed, mean in ((0, 1.0), (1, 9.0)):
        path = tmp_path / name_of({"seed": seed})
        path.mkdir()
        (path / "config.toml").write_text(to_toml(load("alanine-dipeptide", seed=seed)))
        summary = {"schema": 1, "quantities": {"rg": quantity(mean, 1.0, 1.5)}, "diagnostics": {"warnings": []}}
        (path / "summary.json").write_text(json.dumps(summary))
    command = ["sweep", "alanine-dipeptide", "--seeds", "0:2", "--workers", "1", "--out", str(tmp_path)]
    done = CliRunner().invoke(app, command)
    assert done.exit_code == 0, done.output
    assert "2 seeds" in done.stdout
    assert re.search(r"rg +5\.0 +1\.0 +3\.4 to 6\.6 +5\.7 +2e-08 +1 of 2 +kT", done.stdout)
    assert "warning: seeds disagree about rg: its error bars are too narrow" in done.stdout
    found = json.loads((tmp_path / "sweep.json").read_text())
    assert found["groups"][0]["quantities"]["rg"]["chi2"] == pytest.approx(32.0)
    assert [r["settings"] for r in found["runs"]] == [{"seed": 0}, {"seed": 1}]
    assert found["failed"] == []
    before = (tmp_path / "runs.csv").read_text()
    for path in tmp_path.glob("*/config.toml"):  # as if the experiment had been changed in the meantime
        path.write_text(path.read_text().replace("temperature = 330.0", "temperature = 331.0"))
    refused = CliRunner().invoke(app, command)
    assert "holds another run" in str(refused.exception)
    assert (tmp_path / "runs.csv").read_text() == before


def kill_when(there: Callable[[], bool], lock: Path) -> threading.Thread:
    """Kill the process that holds a run's directory, as soon as something is there."""

    def kill() -> None:
        deadline = time.monotonic() + 120
        while not there() and time.monotonic() < deadline:
            time.sleep(0.01)
        os.kill(int(lock.read_text()), signal.SIGKILL)

    thread = threading.Thread(target=kill)
    thread.start()
    return thread


@pytest.mark.slow
def test_an_experiment_whose_workers_are_killed_ends_with_the_numbers_of_an_undisturbed_one(tmp_path: Path) -> None:
    size = {
        "quick": True, "simulation.time": 40.0, "simulation.equilibration": 20.0, "fit.steps": 60, "fit.members": 3,
        "fit.checkpoint_every": 20, "analysis.draws": 10, "analysis.samples": 100,
    }  # fmt: skip
    settings = [{"seed": seed, **size} for seed in range(2)]
    file = Path(__file__).parent / "alanine-dipeptide.toml"
    undisturbed = bcg.experiments.map(str(file), settings, out=tmp_path / "undisturbed", workers=2)
    first, second = (tmp_path / "killed" / name_of(one) for one in settings)
    killers = [
        kill_when((first / "trajectories" / "simulation.json").exists, first / ".lock"),  # while it equilibrates
        kill_when(lambda: any(second.glob("checkpoint/*.json")), second / ".lock"),
    ]
    killed = bcg.experiments.map(str(file), settings, out=tmp_path / "killed", workers=2)
    for thread in killers:
        thread.join()
    for one, other in zip(undisturbed, killed, strict=True):
        for key in ("quantities", "diagnostics", "kind", "compiled"):
            assert one[key] == other[key]
    assert undisturbed[0]["quantities"] != undisturbed[1]["quantities"]
