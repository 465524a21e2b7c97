"""Runs with a section [seeds]: a loop, walkers that go on beside it, and what is refused."""

import json

import pytest

import bayescg as bcg
from bayescg.errors import ConfigError
from bayescg.experiments import load, run
from bayescg.experiments.recipes import recipe_of
from bayescg.experiments.recipes.seed_and_simulate import SeedAndSimulate


def test_the_section_makes_the_recipe():
    assert recipe_of(load("prinz-adaptive")) is SeedAndSimulate
    for change, words in (
        ("seeds.rounds=0", "seeds"),
        ('simulation.engine="batched"', "overdamped"),
        ("seeds.sd=-1.0", "seeds"),
    ):
        with pytest.raises(ConfigError, match=words):
            load("prinz-adaptive", changes=[change])


def test_a_quick_run_lays_walkers_beside(tmp_path):
    few = ["simulation.dt=0.002", "seeds.rounds=2", "fit.steps=5"]
    experiment = load("prinz-adaptive", quick=True, changes=few)
    lines: list[str] = []
    run(experiment, tmp_path / "run", lines.append)
    summary = json.loads((tmp_path / "run" / "summary.json").read_text())
    (name,) = summary["quantities"]
    assert name == "log_t1"
    assert summary["quantities"][name]["truth"] == pytest.approx(-0.181, abs=0.01)
    assert summary["quantities"][name]["ci90"] is None, "two rounds are too few"
    assert (tmp_path / "run" / "figures" / "seeded-rounds.png").exists()
    assert summary["cost"]["energy_evaluations"] == 2 * 2 * 10 * 250
    words = json.loads((tmp_path / "run" / "findings.json").read_text())["tables"]["Rounds"]
    assert [row[0] for row in words["rows"]] == ["10", "20"]
    assert "log t1, continued" in words["columns"]


def test_other_frames_are_not_asked_for_their_rounds():
    model, frames, _ = bcg.models.ReversibleDeepMSM.example()
    fit = bcg.fit(model, frames, steps=2, validation=0.0, uncertainty="none", compile="off")
    with pytest.raises(ConfigError, match="cannot be asked"):
        bcg.questions.ask(fit, frames.frames, "seeded_rounds")
