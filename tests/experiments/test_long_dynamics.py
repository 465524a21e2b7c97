"""Runs of long time steps: from pairs to trajectories, their check, and figures."""

import json

import pytest

from bayescg.errors import ConfigError
from bayescg.experiments import load, run


def test_a_quick_run_checks_its_trajectories_beside_velocity_verlet(tmp_path):
    experiment = load("henon-heiles-action", quick=True, changes=["long_steps.draws=2", "long_steps.accuracy=1e-8"])
    summary = run(experiment, tmp_path, lambda _: None)
    rms, drift = (summary["quantities"][f"energy_{name}"] for name in ("rms", "drift"))
    assert rms["mean"] < 1e-3
    assert drift["truth"] == 0
    assert abs(drift["mean"]) < 5 * drift["sd"]
    assert min(drift["sd_by_source"][name] for name in ("sampling", "parameter")) > 0
    note = summary["diagnostics"]["long_steps"]
    assert note["reversibility"] < 1e-8
    assert note["phase_space_volume"] < 1e-7
    assert note["lost"] == 0
    peers = note["energy_rms_of_peers"]
    assert peers["DirectMap"] > rms["mean"]
    assert rms["mean"] < peers["velocity Verlet at equal cost"] < peers["velocity Verlet"]
    assert 0.5 < summary["diagnostics"]["one_step_coverage"] <= 1
    names = {f.stem for f in (tmp_path / "figures").glob("*.png")}
    assert names == {"energy_errors", "equipartition", "phase_portrait"}
    assert json.loads((tmp_path / "summary.json").read_text())["quantities"]["temperature_x1"]["truth"] is None


def test_settings_that_do_not_fit_are_refused():
    with pytest.raises(ConfigError, match="no multiple of stride"):
        load("henon-heiles-action", changes=["long_steps.stride=3"])
    with pytest.raises(ConfigError, match="verlet"):
        load("henon-heiles-action", changes=["long_steps.thermostat=langevin"])
    with pytest.raises(ConfigError, match="no frames of your own"):
        load("henon-heiles-action", changes=["data.frames=[a.xtc]"])
