"""A model that can learn from frames or from energies does what its file has."""

import json
from pathlib import Path

import pytest

from bayescg.errors import ConfigError
from bayescg.experiments import build, load, run
from bayescg.experiments.recipes.from_energies import FromEnergies
from bayescg.experiments.recipes.from_frames import FromFrames

WITHOUT = (
    "model.name=PredictiveCoarseGraining", "fit.steps=60", "fit.batch_size=64", "analysis.samples=4000",
    "model.hidden=[8]",
)  # fmt: skip


def test_with_a_simulation_it_learns_from_its_frames() -> None:
    experiment = load("predictive-coarse-graining")
    build.check(experiment)
    assert FromFrames.serves(experiment)
    assert not FromEnergies.serves(experiment)


def test_with_a_system_alone_it_learns_from_its_energies(tmp_path: Path) -> None:
    experiment = load("double-well", quick=True, changes=WITHOUT)
    build.check(experiment)
    assert FromEnergies.serves(experiment)
    model = build.model_of(experiment, None, tmp_path)
    assert not model.needs_frames


def test_with_neither_it_is_refused() -> None:
    experiment = load("double-well", quick=True, changes=WITHOUT).model_copy(update={"system": None})
    with pytest.raises(ConfigError, match="learns from the energies of a system"):
        build.check(experiment)


@pytest.mark.slow
def test_a_run_without_data_leaves_its_potential(tmp_path: Path) -> None:
    run(load("double-well", quick=True, changes=WITHOUT), tmp_path / "run", lambda _: None)
    summary = json.loads((tmp_path / "run" / "summary.json").read_text())
    assert summary["quantities"]["free_energy_difference"]["truth"] == pytest.approx(4.7776, abs=1e-3)
    assert (tmp_path / "run" / "figures" / "latent_potential.png").exists()
