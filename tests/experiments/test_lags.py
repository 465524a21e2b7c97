"""Runs of models that learn from pairs of frames: which lags are refused, and what is said of slow modes at lags."""

import json
from pathlib import Path

import numpy as np
import pytest
import xarray as xr

from bayescg.errors import ConfigError
from bayescg.experiments import Experiment, load, run
from bayescg.experiments.build import check, frames_of

PAIRS = """
[experiment]
name = "wells"
description = "Four wells, from pairs of frames"

[system]
name = "Prinz"

[simulation]
engine = "overdamped"
time = 2.0
chains = 50
dt = 0.0005
frame_every = 0.01
equilibration = 0.0

[features]
name = "none"

[model]
name = "ReversibleDeepMSM"

[fit]
steps = 100
batch_size = 1000
learning_rate = 0.02
uncertainty = "none"

[analysis]
draws = 50
"""


def silent(_: str) -> None:
    """Say nothing."""


def wells(path: Path, *changes: str) -> Experiment:
    file = path / "wells.toml"
    file.write_text(PAIRS)
    return load(file, quick=True, changes=changes)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ((), "ReversibleDeepMSM learns from pairs .* give \\[data\\] lag"),
        (("data.lag=0.033",), "0.033 is not a multiple of the time between frames, 0.01; the nearest is 0.03"),
        (("data.lag=0.05", "data.stride=2"), "time between frames, 0.02"),
        (("data.lag=2.0",), "not shorter than the trajectories, 2"),
        (("data.lag=0.05", "analysis.lags=[0.1, 3.0]"), "analysis.lags, 3: 3 is not shorter"),
        (("data.lag=0.05", "simulation.temperature_kT=2.0"), "weighted frames"),
        (("data.lag=0.05", "model.name=GeneratorEigenfunctions"), "learns from single frames"),
        (("model.name=PredictiveCV", "analysis.lags=[0.1]"), "PredictiveCV has no basis"),
    ],
)
def test_lags_that_cannot_be_are_refused_before_anything_is_computed(
    tmp_path: Path, changes: tuple[str, ...], message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        check(wells(tmp_path, *changes))


@pytest.mark.parametrize("text", ["-1.0", "0", "'long'"])
def test_a_lag_is_a_positive_number(tmp_path: Path, text: str) -> None:
    with pytest.raises(ConfigError, match=r"data\.lag"):
        wells(tmp_path, f"data.lag={text}")


def test_ones_own_frames_are_asked_for_their_time(tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", np.random.default_rng(0).normal(size=(50, 2)))
    own = (f"data.frames='{tmp_path / 'x.npy'}'", "data.unit=reduced", "data.lag=2.0")
    with pytest.raises(ConfigError, match="no time axis"):
        frames_of(wells(tmp_path, *own), tmp_path)
    with pytest.raises(ConfigError, match=r"multiple of the time between frames, 1\.5"):
        frames_of(wells(tmp_path, *own, "data.dt=1.5"), tmp_path)
    assert len(frames_of(wells(tmp_path, *own, "data.dt=1.0"), tmp_path).lagged(2.0)) == 48


@pytest.mark.parametrize(
    ("model", "modes", "r2"),
    [
        ("ReversibleDeepMSM", 3, 0.95),
        pytest.param("TimeLaggedAutoencoder", 1, 0.5, marks=pytest.mark.slow),
        pytest.param("VariationalDynamicsEncoder", 1, 0.5, marks=pytest.mark.slow),
    ],
)
def test_a_model_of_pairs_tells_of_slow_modes_at_lags(tmp_path: Path, model: str, modes: int, r2: float) -> None:
    """The timescale is the exact one up to three standard deviations, or less in one function that is not the mode."""
    changes = (f"model.name={model}", "data.lag=0.05", "analysis.lags=[0.05, 0.1, 0.2]", "analysis.modes=9")
    run(wells(tmp_path, *changes), tmp_path / "run", silent)
    found = json.loads((tmp_path / "run" / "summary.json").read_text())
    slowest = found["quantities"]["timescale_1"]
    assert slowest["truth"] == pytest.approx(1 / 1.19898, rel=1e-4)
    assert slowest["mean"] < slowest["truth"] + 3 * slowest["sd"]
    assert modes == 1 or slowest["mean"] > slowest["truth"] - 3 * slowest["sd"]
    assert found["diagnostics"]["eigenfunction_r2"][0] > r2
    assert 1 < found["diagnostics"]["held_out_vamp2"] < 1 + modes
    assert f"timescale_{modes}_at_0.1" in found["quantities"]
    assert f"timescale_{modes + 1}" not in found["quantities"]
    assert any(f"the basis has {modes} independent" in warning for warning in found["diagnostics"]["warnings"])
    drawn = {path.stem for path in (tmp_path / "run" / "figures").glob("*.png")}
    assert {"spectrum", "timescales", "chapman_kolmogorov"} <= drawn
    with xr.open_datatree(tmp_path / "run" / "posterior.nc", engine="h5netcdf") as tree:
        assert tree["implied_timescales"]["timescale"].sizes == {"lag": 3, "draw": 50, "mode": modes}
        measured = tree["chapman_kolmogorov"]["measured"].sel({"lag": 0.05})
        assert np.allclose(measured, tree["chapman_kolmogorov"]["predicted"].sel({"lag": 0.05}))


@pytest.mark.slow  # by default: a run of theirs in test_slow_modes.py
def test_functions_of_the_generator_have_timescales_at_lags_too(tmp_path: Path) -> None:
    lags = "analysis.lags=[0.05, 0.1, 0.9]"
    changes = ("model.name=GeneratorEigenfunctions", "fit.validation=0.0", lags, "analysis.modes=4")
    run(wells(tmp_path, *changes), tmp_path / "run", silent)
    summary = json.loads((tmp_path / "run" / "summary.json").read_text())
    found, warnings = summary["quantities"], summary["diagnostics"]["warnings"]
    assert any("trained for 3 modes" in w for w in warnings)
    assert any(w.startswith("no timescale at lag 0.9: mode 4 decays within the lag") for w in warnings)
    assert "timescale_4_at_0.9" not in found  # a fifteenth of the lag
    for lag in ("0.05", "0.1"):
        one = found[f"timescale_1_at_{lag}"]
        assert abs(one["mean"] - one["truth"]) < 3 * one["sd"]
