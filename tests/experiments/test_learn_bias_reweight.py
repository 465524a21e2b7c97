"""A whole loop on two wells: shots, fit, windows, answers beside quadrature; and what a file may not ask."""

import json
from pathlib import Path

import pytest

from bayescg.errors import ConfigError
from bayescg.experiments import load, run

LOOP = """
[experiment]
name = "two-wells"
[run]
compile = "trace"
[system]
name = "QuarticDoubleWell"
dim = 2
temperature_kT = 0.25
[features]
name = "none"
[model]
name = "MultitaskCV"
regions = ["left", "right"]
latent_dim = 1
tasks = ["commitments"]
hidden = [8]
[shooting]
states = ["left", "right"]
configurations = 120
shots = 10
dt = 0.01
heat = 4.0
hot_steps = 500
chains = 50
[fit]
steps = 300
members = 4
validation = 0.0
[umbrella]
windows = 8
walkers = 8
steps = 4000
dt = 0.01
stride = 40
[analysis]
draws = 100
observables = ["x1"]
differences = [["left", "right"]]
rates = [["left", "right"]]
[analysis.regions]
left = { x1 = [-4.0, -0.8] }
right = { x1 = [0.8, 4.0] }
"""


def silent(_: str) -> None:
    """Say nothing."""


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("loop")
    (path / "loop.toml").write_text(LOOP)
    run(load(path / "loop.toml"), path / "run", silent)
    return path / "run"


def test_answers_hold_what_is_known(finished: Path) -> None:
    summary = json.loads((finished / "summary.json").read_text())
    quantities = summary["quantities"]
    assert quantities["free_energy_difference"]["truth"] == pytest.approx(0.0, abs=1e-9)
    for name in ("free_energy_difference", "population_left", "rate_left_to_right", "time_right_to_left"):
        entry = quantities[name]
        assert abs(entry["mean"] - entry["truth"]) < 4 * entry["sd"], name
        assert entry["ci90"] is not None, name
    assert summary["diagnostics"]["ladder"]["mixed"]
    assert summary["cost"]["energy_evaluations"] > 8 * 8 * 4800


def test_what_is_complete_is_not_made_again(finished: Path) -> None:
    before = {name: (finished / name).stat().st_mtime_ns for name in ("shots.npz", "fit/fit.json")}
    summary = json.loads((finished / "summary.json").read_text())
    (finished / "summary.json").unlink()
    again = run(load(finished.parent / "loop.toml"), finished, silent)
    assert {name: (finished / name).stat().st_mtime_ns for name in before} == before
    assert again["quantities"] == summary["quantities"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (LOOP.replace('states = ["left", "right"]', 'states = ["left", "top"]'), "no state is called 'top'"),
        (LOOP.partition("[umbrella]")[0], "belong together"),
        (LOOP.replace("rates = [[", "differences_of = [["), "differences_of"),
    ],
)
def test_what_makes_no_loop_is_refused(tmp_path: Path, change: str, message: str) -> None:
    (tmp_path / "loop.toml").write_text(change)
    with pytest.raises(ConfigError, match=message):
        run(load(tmp_path / "loop.toml"), tmp_path / "run", silent)
