"""Every registered model keeps the contract, and the contract names the fault of models that do not."""

import subprocess
from pathlib import Path

import pytest

from bayescg.contract import conformance
from bayescg.contract.case import Case
from bayescg.contract.conformance import check_model
from bayescg.contract.fresh_process import check_fresh
from bayescg.contract.model_files import models_in
from bayescg.contract.outcomes import Fault
from bayescg.errors import ConfigError, ModelError
from bayescg.modelling import Model, find_model, model_names

THIRD_PARTY = Path(__file__).parent / "third_party"
DEAR = {"tracing", "answers", "minibatches", "training", "isolation"}
"""Checks that take four fifths of the time."""
ANSWERED = {"PredictiveCV", "ReversibleDeepMSM", "BoltzmannGenerator", "ForceMatchingPotential", "DirectMap"}
"""One model of each base, asked everything by default: of features, pairs, energies, forces, maps."""

# class in third_party/broken.py -> the check that must fail, and what it must say
FAULTS = {
    "Unknown": ("description", "kind is 'guess'"),
    "MisspeltSite": ("programs", "'z' of the model"),
    "ExtraSite": ("programs", "the guide samples w"),
    "WithoutReparameterisation": ("programs", "'z' .* no reparameterised sampler"),
    "DiscreteLatent": ("programs", "'z' .* closed form"),
    "NotFinite": ("programs", "site 'x' of the model has a .* not finite"),
    "GlobalParameter": ("programs", "pyro.param"),
    "PlateOfTheBatch": ("minibatches", r"never `pyro.plate\(..., len\(batch\)\)`"),
    "PlateWithoutWeights": ("weights", "no effect"),
    "UnusedParameter": ("gradients", "'forgotten'"),
    "CutGradient": ("finite differences", "decoder"),
    "ConfigForgets": ("config", "other parameters"),
    "Careless": ("isolation", "global random generator"),
    "TensorForDistribution": ("cv", "cv gives a Tensor, not a distribution"),
    "NetworkOfAnotherCV": ("cv", r"network\(\) is not what its cv\(\) does"),
    "PositionsOfAnotherShape": ("answers", "uncertainty='none'"),
}


@pytest.mark.parametrize("quick", [True, pytest.param(False, marks=pytest.mark.slow)])
@pytest.mark.parametrize("name", model_names())
def test_registered_models_keep_the_contract(monkeypatch, name, quick):
    """Quickly, and asked all that fits are asked if it stands for its base; with the compiler and a new process."""
    if quick and name not in ANSWERED:
        monkeypatch.delitem(conformance._CHECKS, "answers")
    outcomes = check_model(find_model(name), quick=quick)
    assert len(outcomes) == 3 + len(conformance._CHECKS)
    assert "documented with a reference" in outcomes[0].detail
    assert [f"{o.name}: {o.detail}" for o in outcomes if not o.ok] == []


@pytest.fixture(scope="module")
def sound() -> type[Model]:
    (model_class,) = models_in(THIRD_PARTY / "good.py")
    return model_class


@pytest.mark.slow
def test_a_third_partys_sound_model_passes(sound):
    """With the compiler and a new process."""
    outcomes = check_model(sound)
    assert [o for o in outcomes if not o.ok] == []
    assert "loaded and asked by a new process" in {o.name: o.detail for o in outcomes}["answers"]


def test_a_third_partys_sound_model_is_compiled(monkeypatch, sound):
    monkeypatch.setattr(conformance, "_CHECKS", {})
    compiling = check_model(sound)[-1]
    assert compiling.ok, compiling.detail
    assert compiling.detail.startswith("gradients in mode 'inductor' differ from the plain ones by ")


def test_fits_of_a_third_partys_model_are_asked_by_a_new_process(monkeypatch, sound, tmp_path):
    """And one that says something else there is noticed."""
    case = Case(sound, seed=0, quick=False)
    fits = {choice: case.fit(steps=3, uncertainty=choice) for choice in ("none", "mean-field")}
    for choice, fit in fits.items():
        fit.save(tmp_path / choice)
    x = case.positions(fits["none"])
    run, finished = subprocess.run, []
    monkeypatch.setattr(subprocess, "run", lambda *args, **more: finished.append(run(*args, **more)) or finished[0])
    assert check_fresh(fits, x, str(tmp_path)) == "loaded and asked by a new process"
    monkeypatch.setattr(subprocess, "run", lambda *_, **__: finished[0])
    fits["none"] = case.fit(steps=4)
    with pytest.raises(Fault, match=r"uncertainty='none': .* are not the same where a new process has loaded the fit"):
        check_fresh(fits, x, str(tmp_path))


@pytest.fixture(scope="module")
def broken():
    return {c.__name__: c for c in models_in(THIRD_PARTY / "broken.py")}


def test_every_broken_model_is_tried(broken):
    assert {n for n in broken if not n.startswith("_")} == {"Undocumented", *FAULTS}


def test_a_reference_is_advice_to_anybody_and_the_base_of_the_broken_models_is_sound(broken):
    outcomes = check_model(broken["Undocumented"], quick=True)
    assert [o for o in outcomes if not o.ok] == []
    assert "advice: a docstring with a section References" in outcomes[0].detail


@pytest.mark.parametrize("dear", [False, pytest.param(True, marks=pytest.mark.slow)], ids=["cheap", "all"])
@pytest.mark.parametrize("name", FAULTS)
def test_the_fault_is_named(monkeypatch, broken, name, dear):
    """By its check, and by few others; the dear ones are asked of faults elsewhere only where there is time."""
    check, words = FAULTS[name]
    if not dear:
        left = {k: v for k, v in conformance._CHECKS.items() if k == check or k not in DEAR}
        monkeypatch.setattr(conformance, "_CHECKS", left)
    failed = {o.name: o.detail for o in check_model(broken[name], quick=True) if not o.ok}
    assert check in failed
    with pytest.raises(AssertionError, match=words):
        raise AssertionError(failed[check])
    # what does not depend on the fault still passes
    assert len(failed) <= 4, failed


@pytest.mark.parametrize(
    ("content", "error", "words"),
    [
        (None, ConfigError, "does not exist"),
        ("import bayescg as bcg\n", ModelError, "defines no model"),
        ("def f(:\n", ModelError, "does not run: SyntaxError"),
        ("raise SystemError('no')\n", ModelError, "does not run: SystemError: no"),
        ("from bayescg.models import PredictiveCV\n", ModelError, "defines no model"),
    ],
)
def test_files_without_models_are_refused(tmp_path, content, error, words):
    path = tmp_path / "theirs.py"
    if content is not None:
        path.write_text(content)
    with pytest.raises(error, match=words):
        models_in(path)
