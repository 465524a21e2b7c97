"""Runs with a section [labels]: two loops, beside each other, and what is refused."""

import json

import pytest

from bayescg.errors import ConfigError
from bayescg.experiments import load, run
from bayescg.experiments.recipes import recipe_of
from bayescg.experiments.recipes.label_and_learn import LabelAndLearn


def test_the_section_makes_the_recipe():
    assert recipe_of(load("morse-active-learning")) is LabelAndLearn
    with pytest.raises(ConfigError, match="rounds"):
        load("morse-active-learning", changes=["labels.rounds=0"])


@pytest.mark.slow
def test_a_quick_run_has_both_loops(tmp_path):
    run(load("morse-active-learning", quick=True), tmp_path / "run", lambda _: None)
    summary = json.loads((tmp_path / "run" / "summary.json").read_text())
    assert "force_error_held_out" in summary["quantities"]
    files = [tmp_path / "run" / name / "history.json" for name in ("information", "random")]
    histories = [json.loads(file.read_text()) for file in files]
    assert [[r["frames"] for r in history] for history in histories] == [[10, 14], [10, 14]]
    assert histories[0][0]["mean"] == histories[1][0]["mean"]
