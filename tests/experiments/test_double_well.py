"""A run without frames leaves what any run leaves, and counts every energy."""

import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
import xarray as xr

import bayescg as bcg
from bayescg.analysis import Quantity
from bayescg.analysis.quantity import rounded
from bayescg.errors import ConfigError
from bayescg.experiments import load, report, run
from bayescg.experiments.build import check
from bayescg.inference import Fit
from bayescg.questions import Finding
from bayescg.questions.asking import judge_number

SMALL = ("fit.steps=60", "fit.batch_size=64", "analysis.samples=4000", "model.hidden=[8]")


def silent(_: str) -> None:
    """Say nothing."""


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("runs") / "double-well"
    run(load("double-well", quick=True, changes=SMALL), path, silent)
    return path


def test_a_run_leaves_everything_that_is_promised(finished: Path) -> None:
    for name in (
        "config.toml",
        "checkpoint",
        "fit/fit.json",
        "posterior.nc",
        "report.html",
        "figures/free_energy_x1.png",
    ):
        assert (finished / name).exists(), name
    found = json.loads((finished / "summary.json").read_text())
    assert found["quantities"]["free_energy_difference"]["truth"] == pytest.approx(4.7776, abs=1e-4)
    assert found["quantities"]["log_z"]["truth"] == pytest.approx(12.06493, abs=1e-5)
    assert found["diagnostics"]["weighted_draws"] == 4000
    stages = Fit.load(finished / "fit").diagnostics["tempering"]
    assert found["cost"]["energy_evaluations"] == 60 * 64 + 10_000 * len(stages) + 4000
    with xr.open_datatree(finished / "posterior.nc", engine="h5netcdf") as tree:
        assert "log_likelihood" not in tree.children  # there are no data to have one
        assert "cv" in tree["posterior"].dataset


def test_a_notebook_is_told_the_same(finished: Path) -> None:
    """The same numbers, and the same warnings, those of the training among them."""
    summary = json.loads((finished / "summary.json").read_text())
    fit = Fit.load(finished / "fit")
    asked = load("double-well", quick=True, changes=SMALL).analysis.model_dump()
    finding = bcg.questions.ask(fit, seed=0, **asked)
    assert json.loads(json.dumps(finding.summary())) == summary["quantities"]
    assert summary["diagnostics"]["warnings"] == finding.warnings
    assert finding.truth["free_energy_difference"] == pytest.approx(4.7776, abs=1e-4)
    alone = bcg.questions.ask(fit, fit.samples(4000), "free_energies", **{**asked, "differences": []})
    assert list(alone.quantities) == ["population_left", "population_right"]
    with pytest.raises(ConfigError, match=r"slow_modes cannot .*To models with a basis of functions"):
        bcg.questions.ask(fit, None, "slow_modes", **asked)
    with pytest.raises(ConfigError, match="no question is called 'slow_mode'"):
        bcg.questions.ask(fit, None, "slow_mode")
    with pytest.raises(ConfigError, match="draw: Extra inputs"):
        bcg.questions.ask(fit, draw=3)


def test_its_report_is_made_again_from_the_fit(finished: Path) -> None:
    before = (finished / "summary.json").read_text()
    (finished / "report.html").unlink()
    report(finished, silent)
    page = (finished / "report.html").read_text()
    difference = json.loads(before)["quantities"]["free_energy_difference"]
    truth = rounded(difference["truth"], difference["sd"])
    for part in ("free_energy_difference", truth, "No audit was made", "reweighted draws"):
        assert part in page, part
    for part in ("held-out", "held out", "correlated frames", "blocks of frames"):
        assert part not in page, part
    assert (finished / "summary.json").read_text() == before


@pytest.mark.parametrize("names", ['["rg"]', '["x1", "x3"]'])
def test_names_of_an_older_version_are_refused_with_what_to_do(finished: Path, tmp_path: Path, names: str) -> None:
    old = Path(shutil.copytree(finished, tmp_path / "old"))
    config = (old / "config.toml").read_text()
    (old / "config.toml").write_text(re.sub(r"\nobservables = .*", f"\nobservables = {names}", config))
    with pytest.raises(ConfigError, match=r"x1 to x2\. To ask otherwise of this fit: bayescg report .* --set"):
        report(old, silent)
    report(old, silent, ["analysis.observables=['x1']", "analysis.samples=1000"])
    found = json.loads((old / "summary.json").read_text())
    assert "x1" in found["quantities"]
    assert found["diagnostics"]["weighted_draws"] == 1000


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        (["model.name=PredictiveCV"], "learns from frames"),
        (["model.latent_dims=2"], "latent_dim"),
        (["analysis.observables=['rgg']"], "rg"),
    ],
)
def test_what_does_not_belong_together_is_refused(changes: list[str], told: str) -> None:
    with pytest.raises(ConfigError, match=told):
        check(load("double-well", changes=changes))


@pytest.mark.parametrize(
    ("share", "k", "told", "sure"),
    [
        (0.5, 0.3, None, True),
        (0.02, 0.8, "rough", True),
        (0.001, 0.8, "next to nothing", False),
        (0.02, 1.3, "1.30, above 1", False),
    ],
)
def test_no_interval_is_made_of_next_to_no_draws(share: float, k: float, told: str | None, sure: bool) -> None:
    finding = Finding()
    finding.add("f", Quantity.of(np.linspace(-1, 1, 50), "kT", sd_by_source={"sampling": 0.6}))
    judge_number(finding, 4000, {"ess_fraction": share, "pareto_k": k})
    summary = finding.summary()["f"]
    assert (summary["ci90"] is not None) == sure
    assert (summary["sd_by_source"]["sampling"] is not None) == sure
    assert (summary["sd"] is not None) == sure
    assert summary["mean"] == pytest.approx(0.0)
    assert len(finding.warnings) == (told is not None)
    assert told is None or told in finding.warnings[0]
