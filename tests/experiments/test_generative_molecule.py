"""Alanine dipeptide from a generative Markov state model: in small, and as shipped beside parallel tempering."""

import json
from pathlib import Path
from typing import Any

import pytest

from bayescg.errors import ConfigError
from bayescg.experiments import run
from bayescg.experiments.settings import load

NAME = "alanine-dipeptide-generative"


def finished(path: Path, **options: Any) -> dict[str, Any]:
    run(load(NAME, **options), path)
    return json.loads((path / "summary.json").read_text())


def test_a_small_run_says_what_it_does_not_know(tmp_path):
    small = ["simulation.time=20.0", "simulation.chains=8", "data.lag=1.0", "analysis.lags=[1.0]", "fit.steps=5"]
    summary = finished(tmp_path / "run", quick=True, changes=small)
    quantities, generated = summary["quantities"], summary["diagnostics"]["generated"]
    assert quantities["generated_population_alpha"]["truth"] == pytest.approx(0.118, abs=1e-3)
    assert quantities["generated_population_phi_positive"]["ci90"] is None
    assert any("generated population of phi_positive" in w for w in summary["diagnostics"]["warnings"])
    assert generated["ramachandran"]["generated"] == 600
    assert 0.3 < generated["energy_per_term_kT_of_frames"]["bonds"] < 0.7
    assert 0 <= generated["acceptance"] <= 1
    assert (tmp_path / "run" / "figures" / "generated.png").is_file()


def test_a_reference_is_of_what_generates():
    with pytest.raises(ConfigError, match="of a model with a generator"):
        run(load("alanine-dipeptide", changes=['analysis.reference="alanine-dipeptide-obc1-300K"']), "unused")


@pytest.mark.slow
def test_frames_and_paths_are_those_of_the_molecule(tmp_path):
    """As shipped, at another seed than the page's: a quarter of an hour."""
    summary = finished(tmp_path / "run", seed=1)
    quantities, generated = summary["quantities"], summary["diagnostics"]["generated"]
    assert generated["ramachandran"]["kl_generated"] < 0.05
    for name in ("bonds", "angles"):
        energies = generated["energy_per_term_kT"][name], generated["energy_per_term_kT_of_frames"][name]
        assert abs(energies[0] - energies[1]) < 0.1
    for region in ("alpha", "phi_positive"):
        quantity = quantities[f"generated_population_{region}"]
        low, high = quantity["ci90"]
        sd = (high - low) / 3.3
        assert abs(quantity["mean"] - quantity["truth"]) < 4 * sd
    assert generated["acceptance"] > 0.4
