"""Other models beside that of a run: the main job, with the paper's Gaussian decoder beside its flow."""

import json
from pathlib import Path
from typing import Any

import pytest

from bayescg.errors import ConfigError
from bayescg.experiments import load, resume, run
from bayescg.experiments.build import check
from bayescg.inference import Fit

NAME = "alanine-dipeptide"
SMALL = [
    "simulation.time=2.0", "simulation.chains=16", "simulation.equilibration=0.2", "fit.steps=10",
    "beside.gaussian.fit.steps=10", "beside.gaussian_torsions.fit.steps=10", "analysis.samples=100",
    "analysis.draws=10",
]  # fmt: skip


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("runs") / "main"
    run(load(NAME, quick=True, changes=SMALL), path, lambda _: None)
    return path


def results(path: Path) -> dict[str, Any]:
    return json.loads((path / "summary.json").read_text())


def test_each_model_is_asked_the_same_of_the_same_frames(finished: Path) -> None:
    table = json.loads((finished / "findings.json").read_text())["tables"]["Beside other models"]
    rows = [row[0] for row in table["rows"]]
    assert rows[:3] == ["rg, this run", "rg, gaussian", "rg, gaussian_torsions"]
    assert len(rows) == 3 * 5
    assert all(" sd" in row[1] for row in table["rows"])


def test_densities_are_compared_where_they_are_of_one_thing(finished: Path) -> None:
    quantities = results(finished)["quantities"]
    assert quantities["log_density_above_gaussian_torsions"]["unit"] == "nat"
    assert "log_density_above_gaussian" not in quantities
    remarks = json.loads((finished / "findings.json").read_text())["remarks"]["Other models of the same frames"]
    assert any("density of gaussian is over other coordinates" in sentence for sentence in remarks)


@pytest.mark.slow
def test_what_is_complete_is_not_fitted_again(finished: Path) -> None:
    files = [finished / "beside" / name / "fit.json" for name in ("gaussian", "gaussian_torsions")]
    before = [file.stat().st_mtime_ns for file in files]
    first = results(finished)
    (finished / "summary.json").unlink()
    assert resume(finished, lambda _: None)["quantities"] == first["quantities"]
    assert [file.stat().st_mtime_ns for file in files] == before


def test_the_decoders_are_those_of_the_file(finished: Path) -> None:
    assert Fit.load(finished / "fit").model.config()["decoder"] == "flow"
    assert Fit.load(finished / "beside" / "gaussian").model.config()["decoder"] == "gaussian"


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ("beside.gaussian.model.name=PredictivCV", 'did you mean "PredictiveCV"'),
        ("beside.gaussian.model.latent_dims=3", 'did you mean "latent_dim"'),
        ("beside.gaussian.features.name=align", 'did you mean "aligned"'),
        ("beside.gaussian.fits={}", 'did you mean "fit"'),
        ("beside.other={}", "beside.other.model is missing"),
    ],
)
def test_what_nothing_takes_is_refused(change: str, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        check(load(NAME, changes=[change]))


def test_beside_a_study_or_a_model_without_frames_is_refused() -> None:
    change = 'beside.other={ model = { name = "PredictiveCV" } }'
    for name in ("curved-well-comparison", "alanine-dipeptide-boltzmann"):
        with pytest.raises(ConfigError, match=r"\[beside\] is for one model that learns from frames"):
            load(name, changes=[change])
