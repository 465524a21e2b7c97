"""Intervals of parameters and predictions hold the truth as often as they say: small versions of the table's rows."""

from functools import partial

import pytest

from bayescg.analysis import coverage
from bayescg.inference import training_data
from tests.calibration.parameter_posterior import MEAN, mean_of_correlated, predictions, truth


@pytest.mark.slow
def test_mean_field_is_too_wide_where_weights_are_redundant():
    # redundant weights compensate each other in the posterior; independent ones cannot, and their spreads add up
    result = coverage(partial(predictions, choice="mean-field"), truth())
    assert all(row.width > 1.2 for row in result.rows), result


@pytest.mark.slow  # by default test_bootstrap_of_correlated_frames_is_wider of tests/inference holds one of its fits
@pytest.mark.parametrize("blocks", [True, False], ids=["blocks", "single frames: must fail"])
def test_refits_know_of_correlation(monkeypatch, blocks):
    if not blocks:
        monkeypatch.setattr(training_data, "relaxation", lambda model, frames: 1.0)
    experiment = partial(mean_of_correlated, choice="bootstrap", inefficiency=9.0, count=1000)
    (row,) = coverage(experiment, {"mean": MEAN}, repeats=20).rows
    assert (0.7 < row.width < 1.4) == blocks, row
    assert (row.acceptance[0] <= row.held) == blocks, row


@pytest.mark.slow  # by default tests/inference/test_conjugate.py holds the parameters' posteriors to exact ones
@pytest.mark.parametrize(("choice", "fewer"), [("laplace", {"particles": 8}), ("bootstrap", {})])
def test_a_few_predictions_hold_the_truth(choice, fewer):
    """12 intervals, 90 % each: fewer than 7 come less than once in a thousand right tests."""
    result = coverage(partial(predictions, choice=choice, steps=300, samples=4000, **fewer), truth(), repeats=4)
    assert sum(row.held for row in result.rows) >= 7, result
