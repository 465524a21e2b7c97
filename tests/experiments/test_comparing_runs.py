"""Runs beside each other on the command line, and a run that asks whether another model were better."""

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from bayescg.cli import app
from bayescg.errors import ConfigError
from bayescg.experiments import load, run
from bayescg.experiments.comparing_runs import compare_runs
from tests.experiments.conftest import silent

WELLS = """
[experiment]
name = "springs"
description = "Two springs, one of which is soft"
[run]
compile = "off"
device = "cpu"
[system]
name = "Harmonic"
stiffness = [1.0, 1.0, 25.0]
[simulation]
engine = "overdamped"
time = 8.0
chains = 20
dt = 0.04
frame_every = 0.4
equilibration = 0.0
[features]
name = "none"
[model]
name = "Autoencoder"
latent_dim = 1
hidden = []
[fit]
steps = 30
batch_size = 256
learning_rate = 0.03
uncertainty = "none"
[analysis]
observables = ["x1"]
draws = 10
samples = 100
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("comparing")
    (path / "springs.toml").write_text(WELLS)
    return path


@pytest.fixture(scope="module")
def runs(folder: Path) -> list[Path]:
    """One CV and two, of the same frames."""
    for latent in (1, 2):
        run(load(folder / "springs.toml", changes=[f"model.latent_dim={latent}"]), folder / f"{latent} CV", silent)
    return [folder / "1 CV", folder / "2 CV"]


def called(*arguments: str) -> str:
    result = CliRunner().invoke(app, ["compare", *arguments], env={"COLUMNS": "200"}, catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.output


def test_the_command_says_which_model_is_better(runs: list[Path], tmp_path: Path, drawn: None) -> None:
    table = compare_runs(runs)
    output = called(*map(str, runs), "--figure", str(tmp_path / "scores.png"))
    assert table.score == "log_score"
    assert f"Best: {table.best}" in output
    assert "Log density of a frame" in output
    assert "One training of each was scored" in output
    assert (tmp_path / "scores.png").stat().st_size > 1000


def test_folds_train_all_anew(runs: list[Path]) -> None:
    before = {p: p.stat().st_mtime_ns for path in runs for p in path.rglob("*") if p.is_file()}
    output = called(*map(str, runs), "--folds", "3")
    assert "on 3 folds" in output
    assert "One training of each" not in output
    assert before == {p: p.stat().st_mtime_ns for path in runs for p in path.rglob("*") if p.is_file()}


def test_runs_of_other_frames_are_refused(runs: list[Path], folder: Path) -> None:
    run(load(folder / "springs.toml", seed=1), folder / "seed 1", silent)
    with pytest.raises(ConfigError, match=r"seed 1 held out other frames than that in .*2 CV: give both one seed, or"):
        compare_runs([runs[1], folder / "seed 1"])
    with pytest.raises(ConfigError, match="has other frames"):
        compare_runs([runs[1], folder / "seed 1"], folds=3)
    with pytest.raises(ConfigError, match=r"1 CV, .*seed 1 are runs of one model, with other seeds"):
        compare_runs([runs[0], folder / "seed 1"])
    for few in (runs[:1], [runs[0], runs[0]]):
        with pytest.raises(ConfigError, match="at least two runs to compare, each once"):
            compare_runs(few)


def test_what_the_command_cannot_do_it_says_before_it_computes(runs: list[Path], tmp_path: Path) -> None:
    for more, message in (
        (["--score", "logz"], "score='logz' is not known; use one of log_score"),
        (["--restarts", "3"], "restarts: nothing is trained but with folds="),
        (["--figure", str(tmp_path / "scores.xyz")], "the ending of --figure='xyz' is not known"),
    ):
        with pytest.raises(ConfigError, match=message):
            CliRunner().invoke(app, ["compare", *map(str, runs), *more], catch_exceptions=False)


def test_a_run_asks_of_other_models(folder: Path) -> None:
    changes = ["analysis.alternatives={'two CVs' = {latent_dim = 2}}", "analysis.folds=3", "analysis.checks=true"]
    longer = load(folder / "springs.toml", changes=[*changes, "fit.held_out=0.5", "simulation.time=40.0"])
    results: dict[str, Any] = run(longer, folder / "asked", silent)
    quantity = results["quantities"]["score_of_two_CVs_above_this_run"]
    assert quantity["ci90"][0] < quantity["mean"] < quantity["ci90"][1]
    words = json.loads((folder / "asked" / "findings.json").read_text())
    assert [row[0] for row in words["tables"]["Comparison of models"]["rows"]] in (
        ["two CVs", "this run"], ["this run", "two CVs"]
    )  # fmt: skip
    assert (folder / "asked" / "figures" / "comparison.png").exists()
    checks = words["tables"]["Checks"]["rows"]
    assert [row[0] for row in checks] == ["x1", "energy", "all coordinates"]
    assert {row[-1] for row in checks} <= {"passes", "FAILS"}
    assert results["diagnostics"]["checks_failed"] == [row[0] for row in checks if row[-1] == "FAILS"]


def test_lags_are_compared_by_slow_modes_at_the_longest(folder: Path) -> None:
    """In a run that asks of another lag, and between runs of two lags."""
    changes = ["simulation.time=24.0", "model.name=TimeLaggedAutoencoder", "analysis.observables=[]"]
    runs = [folder / f"lag {lag}" for lag in (0.4, 0.8)]
    run(load(folder / "springs.toml", changes=[*changes, "data.lag=0.8"]), runs[1], silent)
    others = ["data.lag=0.4", "analysis.alternatives={longer = {lag = 0.8}}", "analysis.folds=3"]
    results: dict[str, Any] = run(load(folder / "springs.toml", changes=[*changes, *others]), runs[0], silent)
    assert results["quantities"]["score_of_longer_above_this_run"]["ci90"] is not None
    table = compare_runs(runs, folds=3, lag=0.8)
    assert table.score == "vampe"
    assert table.lag == 0.8
    assert "at lag 0.8" in called(*map(str, runs), "--lag", "0.8")
    with pytest.raises(ConfigError, match="give one lag="):
        compare_runs(runs, folds=3)


def test_an_alternative_that_cannot_be_is_refused_before_anything_is_computed(folder: Path) -> None:
    wrong = load(folder / "springs.toml", changes=["analysis.alternatives={two = {latent = 2}}"])
    with pytest.raises(ConfigError, match=r"analysis.alternatives.two: Autoencoder takes no argument 'latent'"):
        run(wrong, folder / "never", silent)
    assert not (folder / "never").exists()
