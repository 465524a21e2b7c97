"""Studies of any models by any questions: with frames and without, all that applies or what is named."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr

from bayescg.errors import ConfigError
from bayescg.experiments import load, report, run
from bayescg.questions.free_energies import FreeEnergies

SPRING = """
[experiment]
name = "springs"
[run]
compile = "off"
[system]
name = "Harmonic"
[simulation]
engine = "overdamped"
time = 20.0
chains = 40
dt = 0.02
frame_every = 0.2
equilibration = 0.0
[features]
name = "none"
[model]
name = "PredictiveCV"
latent_dim = 1
hidden = [4]
[fit]
steps = 20
batch_size = 100
uncertainty = "none"
[analysis]
draws = 20
samples = 400
audit = false
regions.left = { x1 = [-10.0, 0.0] }
regions.right = { x1 = [0.0, 10.0] }
differences = [["left", "right"]]
[compare]
replicates = 2
[compare.fit]
steps = 60
batch_size = 100
uncertainty = "none"
[compare.models.no-data]
name = "EmbeddedPhysics"
latent_dim = 1
hidden = [4]
"""


def silent(_: str) -> None:
    """Say nothing."""


def springs(folder: Path, *changes: str) -> Any:
    (folder / "springs.toml").write_text(SPRING)
    return load(folder / "springs.toml", changes=changes)


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, Any], Path]:
    """All that applies, of one model with frames and one without."""
    folder = tmp_path_factory.mktemp("springs")
    return run(springs(folder), folder / "run", silent), folder / "run"


def test_each_method_is_asked_all_that_applies_to_it(study: tuple[dict[str, Any], Path]) -> None:
    quantities = study[0]["quantities"]
    assert quantities["log_z_no-data"]["truth"] is not None
    assert {"held_out_log_density_predictive_cv", "x1_of_frames_predictive_cv", "x1_no-data"} <= quantities.keys()
    assert not {"log_z_predictive_cv", "held_out_log_density_no-data"} & quantities.keys()
    for method in ("predictive_cv", "no-data"):
        population = quantities[f"population_left_{method}"]
        assert population["truth"] == pytest.approx(0.5)
        assert abs(population["mean"] - 0.5) < 0.3


def test_methods_stand_side_by_side_question_by_question(study: tuple[dict[str, Any], Path]) -> None:
    results, path = study
    assert "population_left: predictive cv" in results["diagnostics"]["conclusion"]
    assert {"methods_free_energies.png", "methods_averages.png"} & {p.name for p in (path / "figures").iterdir()}
    with xr.open_datatree(path / "posterior.nc", engine="h5netcdf") as tree:
        table = tree["comparison/free_energies"].to_dataset().load()
    assert table["population_left"].sizes == {"model": 2, "replicate": 2}
    mean = results["quantities"]["population_left_no-data"]["mean"]
    assert float(table["population_left"].sel(model="no-data").mean()) == pytest.approx(mean)


def test_diagnostics_are_those_of_each_method(study: tuple[dict[str, Any], Path]) -> None:
    numbers = study[0]["diagnostics"]["samples"]
    assert 0 < numbers["no-data"]["ess_fraction"] <= 1
    assert numbers["predictive_cv"]["effective_frames"] > 0


def test_a_study_costs_what_simulations_fits_and_draws_cost(study: tuple[dict[str, Any], Path]) -> None:
    cost = study[0]["cost"]
    assert cost["steps"] == 2 * (20 + 60)
    assert cost["energy_evaluations"] >= 2 * (40 * 1000 + 60 * 100 + 400)


@pytest.mark.slow  # by default: the report of a run in test_runner.py
def test_the_report_of_a_study_is_made_again_without_training(study: tuple[dict[str, Any], Path]) -> None:
    path = study[1]
    fits = {p: p.stat().st_mtime_ns for p in path.glob("fits/*/fit.json")}
    assert sorted(p.parent.name for p in fits) == ["no-data-0", "no-data-1", "predictive_cv-0", "predictive_cv-1"]
    words = (path / "findings.json").read_text()
    for name in ("findings.json", "report.html", "figures/methods_free_energies.png"):
        (path / name).unlink()
    report(path, silent)
    assert (path / "findings.json").read_text() == words  # as a run of an earlier version has none
    assert (path / "figures" / "methods_free_energies.png").exists()
    before = json.loads((path / "summary.json").read_text())["quantities"]
    truth = ["analysis.truth.population_left=0.5", "analysis.truth.populaton_left=0.5"]
    report(path, silent, ["analysis.regions.left.x1=[-9.0, 0.5]", *truth])
    summary = json.loads((path / "summary.json").read_text())
    after = summary["quantities"]
    (of_truth,) = [warning for warning in summary["diagnostics"]["warnings"] if "is of no quantity" in warning]
    assert 'populaton_left is of no quantity of this run: did you mean "population_left"?' in of_truth
    assert after["population_left_no-data"]["mean"] > before["population_left_no-data"]["mean"]
    assert fits == {p: p.stat().st_mtime_ns for p in fits}


def test_one_question_by_name_and_one_that_fails_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of frames that were given; what one method does not know of one data set costs the others nothing."""
    frames = tmp_path / "frames.npy"
    np.save(frames, np.random.default_rng(0).normal(size=(600, 1)))
    given = (
        f"data.frames=['{frames}']", "data.unit=reduced", "data.dt=0.1", "compare.models.b={ name = 'PredictiveCV' }",
        "compare.questions=['free_energies', 'slow_modes']", "fit.steps=5", "compare.fit.steps=5",
    )  # fmt: skip
    ask, calls = FreeEnergies.ask, []

    def fails_once(self: FreeEnergies, context: Any) -> Any:
        calls.append(context)
        if len(calls) == 1:
            raise ValueError("no such thing")
        return ask(self, context)

    monkeypatch.setattr(FreeEnergies, "ask", fails_once)
    results = run(springs(tmp_path, *given), tmp_path / "run", silent)
    assert "population_left_b" in results["quantities"]
    assert "population_left_predictive_cv" not in results["quantities"]
    warnings = results["diagnostics"]["warnings"]
    assert "predictive cv: what free_energies asks could not be computed: ValueError: no such thing" in warnings
    assert "population_left is not known of every data set: predictive cv" in warnings
    assert "compare.questions names slow_modes, which none of these models can be asked" in warnings
    assert any("methods differ by training and split alone" in warning for warning in warnings)
    assert json.loads((tmp_path / "run" / "summary.json").read_text()) == results
    assert len({id(context.frames) for context in calls if context.test is not None}) == 1  # read once


def test_pairs_need_the_lag_of_the_study(tmp_path: Path) -> None:
    change = "compare.models.pairs={ name = 'TimeLaggedAutoencoder' }"
    with pytest.raises(ConfigError, match=r"compare\.lag is missing: TimeLaggedAutoencoder"):
        run(springs(tmp_path, change), tmp_path / "run", silent)


@pytest.mark.parametrize("name", ["predictive_cv", "tica"])
def test_methods_of_one_name_are_refused(tmp_path: Path, name: str) -> None:
    change = f"compare.models.{name}={{ name = 'PredictiveCV' }}"
    with pytest.raises(ConfigError, match=f"compare.models.{name}: another method"):
        run(springs(tmp_path, change), tmp_path / "run", silent)
