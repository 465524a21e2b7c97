"""Intervals of free energies hold the exact values as often as they say: the rows of the table, and smaller ones."""

import numpy as np
import pytest

from bayescg.analysis import coverage, resampled
from tests.calibration.free_energies import along, exact_of_draws, of_draws, truth


def short(seed):
    return along(seed, steps=1500)


@pytest.mark.parametrize(
    "independent",
    [
        pytest.param(False, id="blocks"),
        pytest.param(True, id="frames taken as independent: must fail", marks=pytest.mark.slow),
    ],
)
def test_short_trajectories(monkeypatch, independent):
    if independent:
        monkeypatch.setattr(resampled, "block_ids", lambda frames, g: np.arange(len(frames)))
    result = coverage(short, truth("difference", "barrier"), repeats=60)
    within = all(low <= row.held <= high for row in result.rows for low, high in [row.acceptance])
    assert within != independent, result
    assert all((0.75 < row.width < 1.3) != independent for row in result.rows), result
    assert result.control_fails, result


def test_weighted_draws():
    result = coverage(of_draws, exact_of_draws(), repeats=40)
    assert all(low <= row.held <= high for row in result.rows for low, high in [row.acceptance]), result
    assert all(0.75 < row.width < 1.3 for row in result.rows), result
    assert result.control_fails, result
