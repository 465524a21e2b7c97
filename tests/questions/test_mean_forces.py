"""Errors of forces add up, and the profile is held to the exact one."""

import numpy as np
import pytest

import bayescg as bcg
from bayescg.experiments.schema import Analysis
from bayescg.models import ForceMatchingPotential
from bayescg.questions import Context
from bayescg.questions.mean_forces import MeanForces
from tests.calibration import mean_forces as toy


@pytest.mark.parametrize("uncertainty", ["laplace", "none"])
def test_the_error_of_forces_is_their_noise(uncertainty):
    frames = toy.independent(1, 1000)
    train, test = frames.split(test=0.3)
    model = ForceMatchingPotential(form="splines", noise="constant")
    fit = bcg.fit(model, train, **{**toy.FITTED, "steps": 2, "uncertainty": uncertainty})
    context = Context(fit, frames, Analysis(), 0, train, test, bcg.systems.RippledWell())
    question = MeanForces()
    assert question.applies(context)
    finding = question.ask(context)
    parts = {row[0]: row[1] for row in finding.tables["Errors of forces"].rows}
    assert float(parts["noise"]) == pytest.approx(0.331, abs=4 * 0.331 * (2 / 300) ** 0.5)
    assert float(parts["all"]) == pytest.approx(float(parts["noise"]) + float(parts["bias and variance"]), abs=0.02)
    assert set(finding.quantities) == {"barrier", "well_difference", "log_population_ratio"}
    # exact differences between the places that were learned, some tenths off the exact ones
    assert finding.truth["barrier"] == pytest.approx(1.1125, abs=0.05)
    assert finding.truth["well_difference"] == pytest.approx(-0.472, abs=0.05)
    assert finding.truth["log_population_ratio"] == pytest.approx(-0.423, abs=0.05)
    if uncertainty == "laplace":
        assert float(parts["variance, as foretold"]) == pytest.approx(float(parts["bias and variance"]), rel=0.9)
        for name, quantity in finding.quantities.items():
            assert abs(quantity.mean - finding.truth[name]) < 4 * quantity.sd
    finding.figures["potential_of_mean_force"].draw().draw_without_rendering()


def test_a_system_that_is_not_known_leaves_noise_and_bias_together():
    frames = toy.independent(2, 200)
    bare = bcg.data.Frames.from_numpy(np.asarray(frames.positions), unit="reduced", temperature_kT=1.0)
    fit = bcg.fit(
        ForceMatchingPotential(form="splines", noise="constant"),
        frames,
        **{**toy.FITTED, "steps": 2, "uncertainty": "none"},
    )
    finding = MeanForces().ask(Context(fit, frames, Analysis()))
    assert [row[0] for row in finding.tables["Errors of forces"].rows] == ["all", "variance", "noise and bias"]
    assert finding.truth == {}
    assert not MeanForces().applies(Context(fit, bare, Analysis()))
