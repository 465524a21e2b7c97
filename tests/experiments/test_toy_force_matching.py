"""Some coordinates of a toy system with the forces along them, in a run."""

import pytest

from bayescg.errors import ConfigError
from bayescg.experiments import build, load, run


def test_a_quick_run_holds_the_potential_to_the_exact_one(tmp_path):
    summary = run(load("toy-force-matching", quick=True), tmp_path, lambda _: None)
    for name in ("barrier", "well_difference", "log_population_ratio"):
        quantity = summary["quantities"][name]
        assert abs(quantity["mean"] - quantity["truth"]) < 5 * quantity["sd"]
    assert summary["diagnostics"]["mean_force_error"] < 0.1 * summary["diagnostics"]["force_error"]
    assert (tmp_path / "figures" / "potential_of_mean_force.png").is_file()


def test_coordinates_that_there_are_not_are_refused():
    with pytest.raises(ConfigError, match="x3"):
        build.check(load("toy-force-matching", changes=["data.coordinates=[x3]"]))
