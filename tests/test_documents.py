"""What the documents say is so: their code runs, their links lead somewhere, their commands are the ones that work."""

import importlib
import re
import tomllib
from itertools import chain
from pathlib import Path

import numpy as np
import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

import bayescg as bcg
from bayescg.contract.conformance import check_model
from bayescg.contract.model_files import models_in
from bayescg.models import PredictiveCV
from tests.experiments.configuration_page import PAGE, page

ROOT = Path(__file__).parents[1]
DOCUMENTS = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/*.md")])


def blocks(document: str, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", (ROOT / document).read_text(), re.DOTALL | re.MULTILINE)


@pytest.mark.slow  # tests/models/test_third_party.py makes the quick check by default
def test_the_model_of_contributing_passes_the_check(tmp_path):
    (tmp_path / "factor_analysis.py").write_text(blocks("CONTRIBUTING.md", "python")[0])
    (model_class,) = models_in(tmp_path / "factor_analysis.py")
    assert [o for o in check_model(model_class) if not o.ok] == []


def test_the_question_of_contributing_is_answered(tmp_path, monkeypatch):
    (tmp_path / "cv_moves.py").write_text(blocks("CONTRIBUTING.md", "python")[1])
    monkeypatch.syspath_prepend(str(tmp_path))
    question = importlib.import_module("cv_moves").MeanSquaredDisplacement()
    x = np.random.default_rng(0).normal(size=(64, 2)).cumsum(0)
    frames = bcg.data.Frames.from_numpy(x, unit="reduced", dt=1.0, temperature_kT=1.0)
    fit = bcg.fit(PredictiveCV(dim=2, latent_dim=1, hidden=(4,)), frames, steps=3, uncertainty="none", compile="off")
    found = bcg.questions.ask(fit, frames, question).quantities["cv_msd"]
    assert found.mean == pytest.approx(np.square(np.diff(fit.cv(x).mean[:, 0].numpy())).mean(), rel=0.2)


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda p: p.name)
def test_links_to_files_lead_somewhere(path):
    for target in re.findall(r"\]\(([^)#]+)\)", path.read_text()):
        assert target.startswith("https://") or (path.parent / target).is_file(), target


def test_the_page_of_experiment_files_is_current():
    current = PAGE.read_text(encoding="utf-8") == page()
    assert current, "write it again: python -m tests.experiments.configuration_page"
    for key in ("`latent_dim = 2`", "| `observables` |", "| `lags` |", "psi ALA-3"):
        assert key in page()


def test_the_two_commands_stand_in_the_readme():
    commands = "".join(blocks("README.md", "bash"))
    assert "pip install -c constraints.txt . && bayescg run alanine-dipeptide" in commands
    assert "pip install -c constraints.txt -e '.[test]' && pytest" in commands


def test_constraints_pin_every_dependency_for_every_python():
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    pins = [Requirement(line) for line in lines if line and not line.startswith("#")]
    assert all(re.fullmatch(r"==[^+,*]+", str(pin.specifier)) for pin in pins), "pins are exact, without local suffixes"
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    asked = [Requirement(r) for r in (*project["dependencies"], *chain(*extras.values()))]
    for python in ("3.11", "3.12", "3.13"):
        here = {"python_version": python, "python_full_version": f"{python}.0"}
        versions = [
            (canonicalize_name(pin.name), str(pin.specifier)[2:])
            for pin in pins
            if pin.marker is None or pin.marker.evaluate(here)
        ]
        pinned = dict(versions)
        assert len(pinned) == len(versions), f"a package is pinned twice on {python}"
        for wanted in asked:
            if wanted.name != project["name"] and (wanted.marker is None or wanted.marker.evaluate(here)):
                assert wanted.specifier.contains(pinned[canonicalize_name(wanted.name)]), f"{wanted} on {python}"


def test_the_citation_names_software_and_papers():
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    own_licence, *of_others = project["license"].split(" AND ")
    assert (citation["version"], citation["license"]) == (project["version"], own_licence)
    assert of_others, "3Dmol.js is in the package"
    released = f"## [{citation['version']}] - {citation['date-released']}"
    assert released in (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    papers = {i["value"] for paper in citation["references"] for i in paper["identifiers"]}
    assert {f"arXiv:{n}" for n in ("2307.00365", "2002.10148", "2012.03909", "1812.07669", "2508.01068")} <= papers


def test_the_nightly_matrix_is_of_the_versions_that_the_package_promises():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    rows = [line.split() for line in (ROOT / ".ci" / "matrix").read_text().splitlines() if not line.startswith("#")]
    promised = re.search(
        r"^Python ([\d.]+) to ([\d.]+), torch ([\d.]+)", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE
    )
    assert promised is not None
    first, last, torch = promised.groups()
    assert project["requires-python"] == f">={first}"
    assert f"torch>={torch}" in project["dependencies"]
    pythons = {python for python, *_ in rows}
    assert (min(pythons), max(pythons)) == (first, last)
    assert {t for _, t, _ in rows} == {"pinned", "newest", f"{torch}.0"}
    assert {tests for *_, tests in rows} <= {"all", "default"}


def test_no_document_holds_two_versions_of_a_passage() -> None:
    torn = [d.name for d in DOCUMENTS if re.search(r"^(<{7}|>{7}) ", d.read_text(encoding="utf-8"), re.MULTILINE)]
    assert not torn
