"""Questions that quadrature cannot be asked are refused by an error that names the argument."""

from typing import Any

import pytest

import bayescg.truth
from bayescg.errors import ConfigError
from bayescg.systems import DoubleWell

truth: Any = bayescg.truth  # as people call it, whom no types hold
WELL = DoubleWell()


def first(x):
    return x[:, 0]


WRONG = {
    "cells": (lambda: truth.log_partition(WELL, cells="a"), "cells='a' must be positive"),
    "few cells": (lambda: truth.log_partition(WELL, cells=3), "cells=3: at least 10 are needed"),
    "a name": (lambda: truth.expectation(WELL, "x1"), "'x1' must be a function of coordinates"),
    "no CV": (lambda: truth.free_energy(WELL, None), "None must be a function of coordinates"),
    "no sets": (lambda: truth.committor(WELL, None, None), "None must be a function of coordinates"),
    "bins a word": (lambda: truth.free_energy(WELL, first, bins="a"), "bins='a' must be a whole number, at least 1"),
    "half a bin": (lambda: truth.free_energy(WELL, first, bins=2.5), "bins=2.5 must be a whole number, at least 1"),
    "no bins": (lambda: truth.free_energy(WELL, first, bins=0), "bins=0 must be a whole number, at least 1"),
}


@pytest.mark.parametrize("name", WRONG)
def test_a_question_that_makes_no_sense_is_refused(name):
    ask, told = WRONG[name]
    with pytest.raises(ConfigError, match=told):
        ask()
