"""What CVs tell is what they must: of Gaussians exactly, of angles across the seam, of nothing nothing."""

import math
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch.distributions import Independent, Normal

import bayescg as bcg
from bayescg.distributions import WrappedNormal
from bayescg.errors import DataError, ModelError


def told_by(cv, x, weights=None, observables=()):
    frames = bcg.data.Frames.from_numpy(x, unit="reduced", temperature_kT=1.0, weights=weights)
    fit: Any = SimpleNamespace(model=SimpleNamespace(cv=cv), cv=cv, device=torch.device("cpu"), frames=None)
    return bcg.analysis.cv_information(fit, frames, observables)


def gaussian(sd, x):
    return Independent(Normal(x[:, :1].double(), torch.full((len(x), 1), sd, dtype=torch.float64)), 1)


@pytest.mark.parametrize("sd", [0.1, 0.5, 5.0])
def test_gaussian_cvs_tell_what_the_formula_says(sd):
    """Of x ~ N(0, 1) and z ~ N(x, sd): log(1 + 1 / sd^2) / 2; R squared 1 / (1 + sd^2) of x, 0 of what z ignores."""
    x = np.random.default_rng(0).normal(size=(8000, 2))

    def followed(y):
        return y[:, 0]

    def ignored(y):
        return y[:, 1]

    found = told_by(lambda y: gaussian(sd, y), x, observables=[followed, ignored])
    exact = 0.5 * math.log1p(sd**-2)
    assert abs(found.mutual_information.mean - exact) < 4 * found.mutual_information.sd + 0.02
    assert abs(found.explained_by_draw["followed"] - 1 / (1 + sd**2)) < 0.08  # of 20 neighbours, off by their chance
    assert found.explained["followed"] > 0.99
    assert max(abs(found.explained["ignored"]), abs(found.explained_by_draw["ignored"])) < 0.08


def test_weights_are_respected():
    """Draws of N(0, 2), weighted to N(0, 1)."""
    x = 2.0 * np.random.default_rng(1).normal(size=(8000, 1))
    weights = np.exp(-0.5 * x[:, 0] ** 2 * (1 - 0.25))
    found = told_by(lambda y: gaussian(0.5, y), x, weights, [lambda y: y[:, 0]])
    assert abs(found.mutual_information.mean - 0.5 * math.log(5.0)) < 4 * found.mutual_information.sd
    assert abs(found.explained_by_draw["function"] - 0.8) < 0.05


def test_angles_have_no_seam():
    """Uniform angles, read with a width of 0.2: log(2 pi) less the entropy of r; both sides of pi are one place."""
    x = np.random.default_rng(2).uniform(-math.pi, math.pi, size=(8000, 1))

    def turn(y):
        return y[:, 0]

    turn.unit = "rad"
    found = told_by(lambda y: WrappedNormal(y.double() + 3.0, torch.full((len(y), 1), 0.2).double()), x, None, [turn])
    exact = math.log(2 * math.pi) - 0.5 * math.log(2 * math.pi * math.e * 0.04)
    assert abs(found.mutual_information.mean - exact) < 4 * found.mutual_information.sd + 0.02
    assert min(found.explained["cos turn"], found.explained["sin turn"]) > 0.99
    assert min(found.explained_by_draw["cos turn"], found.explained_by_draw["sin turn"]) > 0.9


def test_a_collapsed_cv_tells_nothing():
    x = np.random.default_rng(3).normal(size=(4000, 1))
    found = told_by(lambda y: gaussian(1.0, 0 * y), x, None, [lambda y: y[:, 0]])
    assert abs(found.mutual_information.mean) < 1e-6
    assert abs(found.explained["function"]) < 0.1


def test_what_cannot_be_told_is_refused():
    with pytest.raises(DataError, match="too few"):
        told_by(lambda y: gaussian(1.0, y), np.zeros((10, 1)))
    frames = bcg.data.Frames.from_numpy(np.zeros((300, 1)), unit="reduced", temperature_kT=1.0)
    fit: Any = SimpleNamespace(model=SimpleNamespace(), device=torch.device("cpu"))
    with pytest.raises(ModelError, match="no CVs"):
        bcg.analysis.cv_information(fit, frames)
