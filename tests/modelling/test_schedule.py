"""A schedule of somebody else's: the fit follows it, tells of it and goes on with it after an interruption."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import bayescg as bcg
from bayescg import checkpoint
from bayescg.contract.model_files import models_in
from bayescg.inference.job import Job
from bayescg.inference.resuming import restore, save
from bayescg.inference.reweighting import evidence, weighted_draws
from bayescg.recording.functional import state_of

(TemperedFlow,) = models_in(Path(__file__).parents[1] / "models" / "third_party" / "tempered_flow.py")
BARRIER, LOG_Z, DIFFERENCE = 0.16745, 12.06493, 4.7776
SETTINGS: dict[str, Any] = {"steps": 300, "batch_size": 256, "compile": "trace", "learning_rate": 5e-3, "seed": 0}


@pytest.fixture(scope="module")
def fit() -> bcg.Fit:
    return bcg.fit(TemperedFlow(bcg.systems.DoubleWell(), layers=2), **SETTINGS)


def test_both_wells_and_the_partition_function_are_found(fit: bcg.Fit) -> None:
    found = evidence(weighted_draws(fit, 50_000, seed=1))
    assert abs(found.log_z - LOG_Z) < 4 * found.log_z_sd < 0.05
    frames = bcg.analysis.reweighted(fit, 100_000)
    wells = bcg.analysis.free_energy(fit, frames, cv=lambda x: x[:, 0]).difference((-10, BARRIER), (BARRIER, 10))
    assert abs(wells.mean - DIFFERENCE) < 4 * wells.sd < 0.4


def test_the_fit_tells_what_its_schedule_did(fit: bcg.Fit) -> None:
    betas = np.unique([row["beta"] for row in fit.log])
    np.testing.assert_allclose(betas[1:] / betas[:-1], 0.05 ** (-1 / 12))
    assert betas[-1] == 1.0
    assert fit.cost["energy_evaluations"] == 300 * 256
    assert fit.diagnostics["warnings"] == []
    assert fit.schedule.legend == "minus a bound on log Z, colder and colder"
    (axes,) = bcg.plot.loss(fit).axes
    assert fit.schedule.legend in axes.get_legend_handles_labels()[1]


def test_an_interrupted_fit_ends_the_same(tmp_path: Path) -> None:
    settings = {
        "steps": 40, "batch_size": 32, "validation": 0.0, "uncertainty": "none", "members": None,
        "learning_rate": 5e-3, "clip": 100.0, "seed": 3, "objective": "elbo", "particles": 16,
    }  # fmt: skip
    whole, first, second = (
        Job(TemperedFlow(bcg.systems.DoubleWell(), levels=4), None, settings, "off", torch.device("cpu"))
        for _ in range(3)
    )
    while not whole.finished:
        whole.advance()
    while first.step < 17:
        first.advance()
    save(first, tmp_path)
    saved = checkpoint.latest(tmp_path)
    assert saved is not None
    restore(second, saved, tmp_path)
    while not second.finished:
        second.advance()
    assert whole.log == second.log
    for name, value in state_of(whole.model).items():
        assert torch.equal(value, state_of(second.model)[name]), name
