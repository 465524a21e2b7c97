import tomllib
from pathlib import Path

import pytest

from bayescg.errors import ConfigError
from bayescg.experiments import load, names
from bayescg.experiments.build import check
from bayescg.experiments.settings import parse, to_toml

NAME = "alanine-dipeptide"


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ("fit.stepz=3", ["fit.stepz = 3", "unknown key", 'did you mean "steps"?', "batch_size"]),
        ("fits.steps=3", ["fits", "unknown key", 'did you mean "fit"?', "analysis"]),
        ("simulation.tme=3.0", ["simulation.tme", 'did you mean "time"?']),
        ("fit.steps=many", ['fit.steps = "many"', "integer"]),
        ("fit.steps=1.5", ["fit.steps = 1.5", "integer"]),
        ("fit.steps=0", ["fit.steps = 0", "greater than or equal to 1"]),
        ("fit.steps=true", ["fit.steps = true", "integer"]),
        ("fit.validation=1.0", ["fit.validation = 1.0", "less than 1"]),
        ("fit.uncertainty=bootstrp", ['did you mean "bootstrap"?', "'laplace'", "'ensemble'"]),
        ("run.device=gpu", ['run.device = "gpu"', 'did you mean "cpu"?', "'auto'"]),
        ("analysis.samples=10", ["analysis.samples = 10", "greater than or equal to 100"]),
        ("run.seed=-1", ["run.seed = -1", "greater than or equal to 0"]),
        ("simulation.time=-1.0", ["simulation.time = -1.0", "greater than 0"]),
        ("simulation.engine=openmm", ["simulation.temperatures", 'engine = "openmm"']),
        ("data.frames=3", ["data.frames = 3", "list"]),
        ("experiment.name='a/b'", ['experiment.name = "a/b"', "pattern"]),
        ("analysis.regions.x.psi=[1.0]", ["analysis.regions.x.psi", "at least 2"]),
        ("analysis.differences=[['a','beta']]", ["'a'", "defined are alpha, beta"]),
        ("analysis.differences=[['alpha','phi_positive']]", ["'alpha'", "different observables"]),
        ("steps=3", ["no section", "--set fit.steps=3"]),
        ("fit.steps", ["write section.key=value"]),
        ("fit..steps=3", ["write section.key=value"]),
        ("fit.steps.more=3", ["steps is a value, not a section"]),
    ],
)
def test_a_wrong_setting_is_named_with_what_is_allowed(change: str, told: list[str]) -> None:
    with pytest.raises(ConfigError) as caught:
        load(NAME, changes=[change])
    for part in told:
        assert part in str(caught.value)


@pytest.mark.parametrize(
    ("name", "change", "told"),
    [
        ("double-well", "analysis.observables=['x3']", 'analysis.observables = "x3": .* 2 coordinates; .* x1 to x2'),
        ("double-well", "analysis.observables=['rg']", 'analysis.observables = "rg"'),
        ("double-well", "analysis.regions.b.x9=[0.0,1.0]", 'analysis.regions.b = "x9"'),
        ("double-well", "analysis.torsions=['phi','psi']", 'analysis.torsions = "phi"'),
        ("alanine-dipeptide-embedded", "analysis.observables=['x67']", '"x67": .* 66 coordinates; .*use one of rg, '),
        ("alanine-dipeptide-embedded", "analysis.observables=['phy']", 'analysis.observables = "phy": did you mean'),
        ("alanine-dipeptide", "analysis.observables=['x1']", 'analysis.observables = "x1"'),
        ("alanine-dipeptide", "analysis.torsions=['psi ALA-3']", "no torsion 'psi ALA-3'; use one of psi ALA-2"),
    ],
)
def test_what_no_system_has_is_refused_before_anything_is_computed(name: str, change: str, told: str) -> None:
    with pytest.raises(ConfigError, match=told):
        check(load(name, changes=[change]))


def test_each_refit_of_an_ensemble_has_draws_enough() -> None:
    asked = ["fit.uncertainty=ensemble", "fit.members=10"]
    with pytest.raises(ConfigError, match=r"analysis.samples = 900 leaves each of fit.members = 10 refits fewer"):
        load("double-well", changes=[*asked, "analysis.samples=900"])
    assert load("double-well", changes=[*asked, "analysis.samples=1000"]).analysis.samples == 1000


def test_every_problem_is_told_at_once() -> None:
    with pytest.raises(ConfigError, match=r"(?s)fit\.members.*fit\.stepz"):
        load(NAME, changes=["fit.stepz=3", "fit.members=1"])


def test_an_experiment_that_is_not_there_suggests_the_nearest() -> None:
    with pytest.raises(ConfigError, match='did you mean "alanine-dipeptide"'):
        load("alanin-dipeptid")
    with pytest.raises(ConfigError, match=r"no experiment file nowhere\.toml"):
        load("nowhere.toml")


@pytest.mark.parametrize("text", ["[fit\nsteps = 3", "[fit]\nsteps = ", "[fit]\nsteps = 3\nsteps = 4", "a = \\"])
def test_a_file_that_does_not_parse_names_file_and_line(tmp_path: Path, text: str) -> None:
    file = tmp_path / "broken.toml"
    file.write_text(text)
    with pytest.raises(ConfigError, match=r"broken\.toml is not valid TOML.*(line \d|end of document)"):
        load(file)


def test_bytes_that_are_no_text_are_refused(tmp_path: Path) -> None:
    (tmp_path / "x.toml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ConfigError, match="not valid TOML"):
        load(tmp_path / "x.toml")


def test_a_directory_is_no_experiment_file(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no experiment file"):
        load(f"{tmp_path}/")


def test_nothing_to_fit_is_refused(tmp_path: Path) -> None:
    (tmp_path / "x.toml").write_text('[experiment]\nname = "x"\n[model]\nname = "PredictiveCV"\n')
    with pytest.raises(ConfigError, match="nothing to fit: give"):
        load(tmp_path / "x.toml")


def test_a_missing_section_is_named(tmp_path: Path) -> None:
    (tmp_path / "x.toml").write_text('[experiment]\nname = "x"\n')
    with pytest.raises(ConfigError, match="model is missing"):
        load(tmp_path / "x.toml")


@pytest.mark.parametrize("name", names())
@pytest.mark.parametrize("quick", [False, True])
def test_shipped_experiments_are_valid_and_survive_writing(name: str, quick: bool) -> None:
    experiment = load(name, quick=quick)
    assert experiment.experiment.name == name
    assert experiment.experiment.description
    assert parse(tomllib.loads(to_toml(experiment)), "text") == experiment


def test_text_of_any_kind_survives_writing() -> None:
    odd = 'quote " backslash \\ tab \t line \n delete \x7f umlaut ö emoji \U0001f600'
    experiment = load(NAME)
    changed = experiment.model_copy(
        update={"experiment": experiment.experiment.model_copy(update={"description": odd, "cite": []})}
    )
    assert parse(tomllib.loads(to_toml(changed)), "text").experiment.description == odd


def test_settings_of_the_command_line_win_over_quick_and_file() -> None:
    plain, quick = load(NAME), load(NAME, quick=True)
    assert quick.fit.steps < plain.fit.steps
    assert quick.run.compile == "off"
    assert quick.run.quick
    assert not plain.run.quick
    assert load(NAME, quick=True, changes=["fit.steps=77"]).fit.steps == 77
    assert load(NAME, seed=5, changes=["run.seed=6"]).run.seed == 6


def test_paths_are_relative_to_the_file_that_holds_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = '[experiment]\nname = "x"\n[model]\nname = "PredictiveCV"\n[data]\nframes = "a.xtc"\ntop = "a.pdb"\n'
    (tmp_path / "x.toml").write_text(text)
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    with monkeypatch.context() as patch:
        patch.chdir(elsewhere)
        own = load(tmp_path / "x.toml").data
        given = load(tmp_path / "x.toml", changes=["data.frames=b.xtc"]).data
    assert (own.frames, own.top) == ([str(tmp_path / "a.xtc")], str(tmp_path / "a.pdb"))
    assert given.frames == [str(elsewhere / "b.xtc")]
    assert given.top == own.top


def test_the_file_of_a_model_is_looked_for_beside_the_experiment(tmp_path: Path, monkeypatch) -> None:
    """So that it is found from any directory, and by the configuration of its run."""
    text = """
[experiment]
name = "mine"
[system]
name = "DoubleWell"
[model]
name = "mine.py:Mine"
[compare.models.other]
name = "parts/other.py:Other"
"""
    (tmp_path / "mine.toml").write_text(text)
    monkeypatch.chdir("/")
    experiment = load(tmp_path / "mine.toml")
    assert experiment.model.name == f"{tmp_path / 'mine.py'}:Mine"
    assert experiment.compare is not None
    assert experiment.compare.models["other"].name == f"{tmp_path / 'parts' / 'other.py'}:Other"
    monkeypatch.chdir(tmp_path)
    changed = load(tmp_path / "mine.toml", changes=["model.name=yours.py:Yours"])
    assert changed.model.name == f"{tmp_path / 'yours.py'}:Yours"
