"""Runs that look for slow modes: simulated, weighted, refused."""

import json
from pathlib import Path

import numpy as np
import pytest
import xarray as xr

from bayescg.errors import ConfigError, DataError
from bayescg.experiments import load, report, run
from bayescg.experiments.build import frames_of
from bayescg.report import QUICK_RUN

TINY = (
    "simulation.time=1.0", "simulation.chains=20", "simulation.dt=0.0005", "fit.steps=20", "fit.batch_size=500",
    "analysis.draws=20",
)  # fmt: skip


def silent(_: str) -> None:
    """Say nothing."""


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("runs") / "prinz"
    run(load("prinz", quick=True, changes=TINY), path, silent)
    return path


def test_eigenvalues_and_timescales_have_their_truth_beside_them(finished: Path) -> None:
    found = json.loads((finished / "summary.json").read_text())
    assert found["kind"] == "generalised"
    assert found["diagnostics"]["quick"]
    for k, exact in enumerate((1.19898, 7.8885, 15.3614), start=1):
        rate, time = (found["quantities"][f"{name}_{k}"] for name in ("eigenvalue", "timescale"))
        assert rate["truth"] == pytest.approx(exact, rel=1e-4)
        assert time["truth"] == pytest.approx(1 / exact, rel=1e-4)
        assert rate["ci90"] is None  # from 24 relaxations
    assert any("fewer than the 40 from which its interval would hold" in w for w in found["diagnostics"]["warnings"])
    assert found["diagnostics"]["eigenfunction_r2"][0] > 0.95
    with xr.open_datatree(finished / "posterior.nc", engine="h5netcdf") as tree:
        assert tree["slow_modes"]["timescale"].shape == (20, 3)


def test_the_report_is_made_again_with_the_figures(finished: Path) -> None:
    (finished / "report.html").unlink()
    (finished / "figures" / "eigenfunctions.png").unlink()
    report(finished, silent)
    assert (finished / "figures" / "eigenfunctions.png").exists()
    page = (finished / "report.html").read_text()
    assert "timescale_1" in page
    assert QUICK_RUN in page
    assert "nats" not in page  # the loss is no likelihood


@pytest.mark.parametrize("name", ["prinz", "three-well-ring"])
def test_a_quick_run_takes_no_coarser_steps(name: str) -> None:
    """A coarse step of the simulation biases every timescale, and no interval knows of it."""
    quick, full = load(name, quick=True).simulation, load(name).simulation
    assert quick is not None
    assert full is not None
    assert quick.dt == full.dt


@pytest.mark.slow
def test_frames_of_another_temperature_are_weighted(tmp_path: Path) -> None:
    """The mean energy of weighted frames is that of exact draws, up to four standard errors of its blocks."""
    import bayescg as bcg

    changes = ("simulation.temperature_kT=2.0", "simulation.time=10.0", "simulation.chains=100")
    frames = frames_of(load("three-well-ring", quick=True, changes=changes), tmp_path)
    assert frames.kT == 1.0
    w, u = np.asarray(frames.weights, dtype=np.float64), np.asarray(frames.energy, dtype=np.float64)
    chains = [(w[frames.trajectory == c] * u[frames.trajectory == c]).sum() for c in range(100)]
    counts = [w[frames.trajectory == c].sum() for c in range(100)]
    mean = np.sum(chains) / np.sum(counts)
    error = np.std(np.array(chains) - mean * np.array(counts)) / np.mean(counts) / 10
    exact = np.mean(np.asarray(bcg.sampling.equilibrium(bcg.systems.ThreeWellRing(), 100_000).energy))
    assert abs(mean - exact) < 4 * error
    assert abs(u.mean() - exact) > 10 * error


@pytest.mark.slow
def test_many_dimensions_cannot_be_weighted(tmp_path: Path) -> None:
    changes = ("system.dim=50", "simulation.temperature_kT=2.0", "simulation.time=1.0")
    with pytest.raises(DataError, match="effective sample size"):
        run(load("three-well-ring", quick=True, changes=changes), tmp_path / "run", silent)


def test_another_temperature_is_for_toy_systems_only() -> None:
    with pytest.raises(ConfigError, match="temperature_kT"):
        load("alanine-dipeptide", quick=True, changes=("simulation.temperature_kT=2.0",))
