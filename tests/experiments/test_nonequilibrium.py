"""Runs of trajectories that begin in one well: weighted to equilibrium, or warned of."""

from pathlib import Path

import pytest

from bayescg.errors import ConfigError
from bayescg.experiments.recipes.from_frames import FromFrames
from bayescg.experiments.settings import load

QUICK = ["fit.steps=30", "fit.members=3", "simulation.frame_every=0.05", "simulation.dt=0.0002", "fit.batch_size=64"]


def test_all_that_is_asked_is_asked_of_weighted_frames(tmp_path: Path) -> None:
    recipe = FromFrames(load("prinz-nonequilibrium", quick=True, changes=QUICK), tmp_path)
    for _, _, stage in recipe.stages():
        stage()
    frames = recipe.context().frames
    assert frames.koopman is not None
    assert frames.order is not None
    first = frames.positions[frames.order == frames.order.min()]
    assert first.mean() > 0.4, "a saved step after the start"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (["data.lag=none"], "data.lag"),
        (["simulation.engine=openmm"], 'simulation.start is for simulation.engine = "overdamped" only'),
    ],
)
def test_what_does_not_go_together_is_refused(changes: list[str], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        load("prinz-nonequilibrium", changes=changes)
