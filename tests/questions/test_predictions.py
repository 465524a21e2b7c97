"""How far off predictions are, in words and numbers, and when that is a warning."""

from dataclasses import replace

import numpy as np
import pytest

import bayescg as bcg
from bayescg.analysis import ObservableCheck, PredictiveCheck
from bayescg.models import PredictiveCV
from bayescg.questions.finding import Finding
from bayescg.questions.predictions import Predictions, off_by


def check(**changes) -> ObservableCheck:
    """Of many frames: an average of 2 and a spread of .5 nm, predicted 1 % and 4 % too large."""
    flat = np.full((1, 4), 0.25)
    plain = ObservableCheck(
        name="rg", unit="nm", periodic=False, edges=np.arange(5.0), counts=np.full(4, 10_000), observed=flat[0],
        observed_se=0.01 * flat[0], predicted=flat, credible=np.tile(flat, (2, 1)), predictive=np.tile(flat, (2, 1)),
        coverage=0.9, p_mean=1.0, p_sd=1.0, observed_mean=2.0, observed_sd=0.5, observed_mean_sd=0.001,
        predicted_mean=np.array([2.02]), predicted_sd=np.array([0.52]), intrinsic_sd=0.1, effective_frames=1e4,
    )  # fmt: skip
    return replace(plain, **changes)


def test_the_warnings_of_the_fit_are_those_of_the_finding() -> None:
    model, frames, _ = PredictiveCV.example()
    fit = bcg.fit(model, frames, steps=2, uncertainty="none", compile="off")
    fit.diagnostics["warnings"].append("it was not trained for long")
    train, test = frames.split(blocks=5)
    settings = {"observables": ["x1"], "draws": 20, "samples": 200, "truth": {"x1": 0.0, "x2": 0.0}}
    finding = bcg.questions.ask(fit, frames, "predictions", train=train, test=test, **settings)
    assert "it was not trained for long" in finding.warnings
    assert [warning for warning in finding.warnings if "analysis.truth" in warning] == [
        "analysis.truth.x2 is of no quantity of this run: There are x1, x1_of_frames"
    ]
    assert finding.truth["x1"] == 0.0


def test_off_by_is_told_in_percent_and_in_standard_deviations() -> None:
    assert off_by(check()) == ("+1.00 %, +0.04 sd", pytest.approx(0.04), pytest.approx(0.04))
    words, in_sd, _ = off_by(check(observed_mean=0.1, predicted_mean=np.array([0.0])))
    assert (words, in_sd) == ("-0.1 nm, -0.20 sd", pytest.approx(-0.2))  # no part of what may as well be zero
    angle = check(periodic=True, unit="rad", observed_mean=3.1, predicted_mean=np.array([-3.1]))
    assert off_by(angle)[0] == "+4.8°, +0.17 sd"  # across the end of the circle


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({}, None),  # more than chance, and yet a twenty-fifth of the spread: the table says so
        ({"predicted_mean": np.array([2.05])}, "average 2.05 for 2 nm"),
        ({"predicted_mean": np.array([2.05]), "p_mean": 0.5}, None),  # by chance
        ({"predicted_sd": np.array([0.6])}, "spread 0.6 for 0.5 nm"),
        ({"coverage": 0.3}, None),
        ({"coverage": 0.3, "predicted": np.array([[0.3, 0.3, 0.2, 0.2]])}, "10% of the frames in others"),
    ],
)
def test_what_many_frames_refuse_is_a_warning_where_it_matters(changes, words) -> None:
    finding = Finding()
    Predictions()._judge(finding, PredictiveCheck({"rg": check(**changes)}, 0.9, 1000))
    if words is None:
        assert not finding.warnings
    else:
        (warning,) = finding.warnings
        assert words in warning
        assert "richer decoder" in warning
    assert finding.diagnostics["predictive_check"]["rg"]["spread_off"] == off_by(check(**changes))[2]
