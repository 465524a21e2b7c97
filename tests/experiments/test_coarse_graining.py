"""Alanine dipeptide as five beads: the shipped experiment, made small, and what its section refuses."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from bayescg.errors import BayescgError, ConfigError
from bayescg.experiments import load, run
from bayescg.experiments.build import check
from bayescg.experiments.recipes import recipe_of

NAME = "alanine-dipeptide-cg"
SMALL = (
    "simulation.time=1.0", "simulation.chains=16", "simulation.equilibration=0.2", "simulation.temperatures=[330, 500]",
    "coarse_graining.draws=2", "coarse_graining.chains=4", "coarse_graining.time=0.05",
    "coarse_graining.frame_every=0.01", "coarse_graining.equilibration=0.01", "model.hidden=[4]",
    "fit.steps=20", "analysis.draws=10",
)  # fmt: skip


def silent(_: str) -> None:
    """Say nothing."""


def test_the_experiment_is_sound() -> None:
    check(load(NAME))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("coarse_graining.without=left", "coarse_graining.without names 'left'; analysis.basins are beta, alpha"),
        ("coarse_graining.draws=3", "chains = 400 is no multiple of draws = 3"),
        ("simulation.engine=overdamped", 'forces in full precision: set simulation.engine = "batched"'),
        ("coarse_graining.aggregation=sum", "use 'optimal', 'basic' or 'slice'"),
        ("coarse_graining.across={phi = [75.0, -75.0]}", r"across = \{ phi = \[75, -75\] \}: degrees, -180 to 180"),
        ("umbrella.stride=100", "stride \\* umbrella.dt = 0.2, but simulation.frame_every = 1: frames that"),
    ],
)
def test_what_the_section_refuses(change: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        load(NAME, changes=[change])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("coarse_graining.across={omega = [-75.0, 75.0]}", "no omega"),
        ("coarse_graining.across={rg = [-75.0, 75.0]}", "names 'rg': it is one torsion of the beads, such as phi, psi"),
        ('coarse_graining.beads=["C ACE", "M ALA"]', "M ALA"),
    ],
)
def test_what_beads_lack_is_refused_before_anything_is_simulated(change: str, message: str) -> None:
    experiment = load(NAME, changes=[change])
    with pytest.raises(BayescgError, match=message):
        check(experiment)


def test_a_small_run_answers_everything(tmp_path: Path) -> None:
    path = tmp_path / "run"
    run(load(NAME, quick=True, changes=SMALL), path, silent)
    summary = json.loads((path / "summary.json").read_text())
    assert {"population_beta", "population_alpha", "population_phi_positive"} <= summary["quantities"].keys()
    assert 0 < summary["diagnostics"]["coarse_grained"]["jensen_shannon"] <= np.log(2)
    assert "forces" in summary["diagnostics"]
    assert "extrapolates_all_atom" in summary["diagnostics"]["coarse_grained"]  # the fit knows its training frames


def test_frames_of_barriers_join_the_training_with_forces_that_feel_no_bias(tmp_path: Path) -> None:
    experiment = load(NAME, quick=True, changes=[*SMALL, "coarse_graining.aggregation=slice"])
    recipe: Any = recipe_of(experiment)(experiment, tmp_path)
    for stage, _, work in recipe.stages():
        if stage == "fit":
            break
        work()
    biased = recipe.biased
    assert (len(biased), biased.bias.windows) == (4 * 2 * 4, 4)
    joined, before = recipe.train, len(recipe.train) - len(biased)
    order = np.argsort(biased.bias.replica, kind="stable")
    atoms = recipe.mapping.matrix.argmax(1).numpy()
    assert joined.gather(slice(before, None)) == pytest.approx(biased.gather(order)[:, atoms], abs=1e-6)
    # in kJ/mol/nm, of typical forces of thousands; the bias adds hundreds
    x = torch.as_tensor(biased.gather(order)).flatten(1)
    right = recipe.molecule.forces(x).reshape(-1, 22, 3).numpy()[:, atoms]
    assert joined.gather(slice(before, None), "forces") == pytest.approx(right, abs=2.0)
    assert len(np.unique(joined.trajectory[before:])) == 8
    assert recipe.starts.shape == (4, 5, 3)


@pytest.mark.slow
def test_a_run_goes_on_where_it_was(tmp_path: Path) -> None:
    summaries = []
    for _ in range(2):
        run(load(NAME, quick=True, changes=SMALL), tmp_path / "run", silent)
        summaries.append(json.loads((tmp_path / "run" / "summary.json").read_text()))
        for name in ("summary.json", "report.html", "posterior.nc"):
            (tmp_path / "run" / name).unlink()
    assert summaries[0]["quantities"] == summaries[1]["quantities"]
    assert "extrapolates_simulated" in summaries[0]["diagnostics"]["coarse_grained"]
