"""Models of third parties, each written from CONTRIBUTING's page, go through every road that a user has."""

import json
import re
from pathlib import Path

import pytest

from bayescg.contract.conformance import check_model
from bayescg.contract.model_files import models_in
from bayescg.experiments import load, run

ROOT = Path(__file__).parents[2]
FILES = Path(__file__).parent / "third_party"

FRAMES = ("none", "bootstrap", "ensemble")
# file -> its arguments in an experiment, and every uncertainty that it can have
MODELS = {
    "factor_analysis": ("dim = 2", (*FRAMES, "mean-field", "laplace")),
    "gaussian_mixture": ("dim = 2", FRAMES),
    "principal_axes": ("", (*FRAMES, "mean-field", "laplace")),
    "linear_propagator": ("", FRAMES),
    "gaussian_generator": ("", ("none", "ensemble")),
}
RUNS = [(name, choice) for name, (_, choices) in MODELS.items() for choice in choices]

EXPERIMENT = """
[experiment]
name = "third-party"

[system]
name = "DoubleWell"

[features]
name = "none"

[model]
name = "{path}:{name}"
{arguments}

[fit]
steps = 40
batch_size = 64
learning_rate = 0.02
uncertainty = "{uncertainty}"
members = 4

[analysis]
observables = {observables}
draws = 20
samples = 1000
audit = false
"""
SIMULATION = """
[simulation]
engine = "overdamped"
time = 10.0
chains = 4
dt = 0.01
frame_every = 0.1
equilibration = 1.0
"""


@pytest.fixture(params=MODELS)
def name(request):
    return request.param


def file_of(name: str, folder: Path) -> Path:
    """The file of a model, that of CONTRIBUTING's page copied out of it."""
    if name != "factor_analysis":
        return FILES / f"{name}.py"
    code = re.search(r"^```python\n(.*?)^```", (ROOT / "CONTRIBUTING.md").read_text(), re.DOTALL | re.MULTILINE)
    assert code is not None
    path = folder / "factor_analysis.py"
    path.write_text(code[1])
    return path


def run_of(name: str, uncertainty: str, folder: Path) -> dict:
    path, (arguments, _) = file_of(name, folder), MODELS[name]
    (model_class,) = models_in(path)
    text = EXPERIMENT.format(
        path=path,
        name=model_class.__name__,
        arguments=arguments,
        uncertainty=uncertainty,
        observables="[]" if model_class.needs_frames else '["x1"]',
    )
    if model_class.needs_frames:
        text += SIMULATION
    if model_class.needs_pairs:
        text += "\n[data]\nlag = 0.1\n"
    (folder / "experiment.toml").write_text(text)
    return run(load(folder / "experiment.toml"), folder / "run", lambda _: None)


def test_they_keep_the_contract(name, tmp_path):
    (model_class,) = models_in(file_of(name, tmp_path))
    outcomes = check_model(model_class, quick=True)
    assert [f"{o.name}: {o.detail}" for o in outcomes if not o.ok] == []
    asked_of = {o.name: o.detail for o in outcomes}["answers"]
    assert asked_of.startswith(f"with uncertainty {', '.join(MODELS[name][1])}")


def test_a_mixture_runs_as_an_experiment(tmp_path):
    """Refits of a model whose draws cannot be batched and whose guide proposes nothing: what used to end in traces."""
    summary = run_of("gaussian_mixture", "bootstrap", tmp_path)
    assert summary["diagnostics"]["pareto_k"] == 0
    assert not [w for w in summary["diagnostics"]["warnings"] if "could not be computed" in w]
    assert (tmp_path / "run" / "report.html").exists()


@pytest.mark.slow
def test_they_keep_the_whole_contract(name, tmp_path):
    (model_class,) = models_in(file_of(name, tmp_path))
    outcomes = check_model(model_class)
    assert [f"{o.name}: {o.detail}" for o in outcomes if not o.ok] == []
    assert "loaded and asked by a new process" in {o.name: o.detail for o in outcomes}["answers"]


@pytest.mark.slow
@pytest.mark.parametrize(("name", "uncertainty"), RUNS)
def test_they_run_as_experiments_with_every_uncertainty(name, uncertainty, tmp_path):
    summary = run_of(name, uncertainty, tmp_path)
    (model_class,) = models_in(file_of(name, tmp_path))
    saved = json.loads((tmp_path / "run" / "fit" / "fit.json").read_text())
    assert model_class.__name__ in json.dumps(saved)
    assert (tmp_path / "run" / "report.html").exists()
    assert not [w for w in summary["diagnostics"]["warnings"] if "could not be computed" in w]
