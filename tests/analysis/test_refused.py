"""Questions about slow modes that cannot be answered are refused in words, whatever is asked of whatever."""

from typing import Any

import numpy as np
import pytest
import torch

import bayescg as bcg
import bayescg.analysis
from bayescg.errors import ConfigError, DataError

analysis: Any = bayescg.analysis  # as people call them, whom no types hold


@pytest.fixture(scope="module")
def frames():
    return bcg.sampling.overdamped(bcg.systems.Harmonic(), 300, dt=0.01, chains=10, stride=10, seed=0)


def powers(x):
    return torch.cat([x, x**2], 1)


def mixing(x):
    return x - x.mean()


WRONG = {
    "modes": (lambda f: analysis.spectrum(powers, f, modes=1.5), ConfigError, "modes=1.5"),
    "draws": (lambda f: analysis.spectrum(powers, f, draws=1), ConfigError, "draws=1 must be .* at least 2"),
    "seed": (lambda f: analysis.spectrum(powers, f, seed=-1), ConfigError, "seed=-1"),
    "an array": (lambda f: analysis.spectrum(powers, f.positions), DataError, "frames are a ndarray; give Frames"),
    "pairs": (lambda f: analysis.spectrum(powers, f.lagged(0.1)), DataError, "the frames themselves, and lag=0.1"),
    "lag a word": (lambda f: analysis.spectrum(powers, f, lag="1 ns"), ConfigError, "lag='1 ns' must be a number"),
    "lag NaN": (lambda f: analysis.spectrum(powers, f, lag=float("nan")), ConfigError, "lag=nan must be a number"),
    "lag off the grid": (lambda f: analysis.spectrum(powers, f, lag=0.15), DataError, "nearest is 0.1"),
    "pairs at no lag": (lambda f: f.lagged(None), ConfigError, "lag=None must be a number"),
    "one frame": (lambda f: analysis.spectrum(powers, f[:1]), DataError, "none of the functions varies"),
    "a constant": (lambda f: analysis.spectrum(torch.ones_like, f), DataError, "none of the functions varies"),
    "detached": (lambda f: analysis.spectrum(lambda x: x.detach(), f), DataError, "function 0 .* has no gradient"),
    "a step": (
        lambda f: analysis.spectrum(lambda x: torch.cat([x, (x > 0).float()], 1), f),
        DataError,
        "function 1 .* has no gradient",
    ),
    "frames mixed": (lambda f: analysis.spectrum(mixing, f), DataError, "mixes the frames of a batch"),
    "no functions": (lambda f: analysis.spectrum(lambda x: x[:, 1:], f), DataError, r"not \(300, 0\)"),
    "a basis by NumPy": (lambda f: analysis.spectrum(lambda x: x.numpy(), f, lag=0.1), DataError, "not a ndarray"),
    "diffusion a word": (lambda f: analysis.spectrum(powers, f, diffusion="kT"), ConfigError, "diffusion='kT' is no"),
    "a class of systems": (
        lambda f: analysis.spectrum(powers, f, system=bcg.systems.Harmonic),
        ConfigError,
        "make one of the class first",
    ),
    "a hotter system": (
        lambda f: analysis.spectrum(powers, f, system=bcg.systems.Harmonic(temperature_kT=3.0)),
        DataError,
        "frames are at kT = 1, the system at kT = 3",
    ),
    "one lag in place of several": (
        lambda f: analysis.implied_timescales(powers, f, 0.1),
        ConfigError,
        "lags=0.1 must be a sequence",
    ),
    "no lags": (lambda f: analysis.implied_timescales(powers, f, []), ConfigError, "at least one lag"),
    "the generator among lags": (
        lambda f: analysis.implied_timescales(powers, f, [0.1, 0.0]),
        ConfigError,
        r"lags\[1\]=0.0 must be positive",
    ),
    "one multiple": (lambda f: analysis.chapman_kolmogorov(powers, f, 0.1, multiples=5), ConfigError, "ascend from 1"),
    "half a multiple": (
        lambda f: analysis.chapman_kolmogorov(powers, f, 0.1, multiples=(1, 2.5)),
        ConfigError,
        r"multiples\[1\]=2.5",
    ),
    "no draws": (lambda f: analysis.chapman_kolmogorov(powers, f, 0.1, draws=0), ConfigError, "draws=0"),
    "no mapping": (lambda f: analysis.compare([powers], f, "vamp2", lag=0.1), ConfigError, "mapping of names"),
    "folds": (lambda f: analysis.compare({"x": powers}, f, "vamp2", lag=0.1, blocks=2.5), ConfigError, "blocks=2.5"),
}


def first(x):
    return x[:, 0]


UNANSWERED = {
    "a level in per cent": ({"level": 90}, ConfigError, r"level=90 must be a number in \(0, 1\)"),
    "a level below": ({"level": -1}, ConfigError, "level=-1"),
    "no level": ({"level": 0}, ConfigError, "level=0"),
    "a word for a level": ({"level": "a"}, ConfigError, "level='a'"),
    "a word for bins": ({"bins": "a"}, ConfigError, "bins='a' must be a whole number, at least 2"),
    "half a bin": ({"bins": 2.5}, ConfigError, "bins=2.5"),
    "no draws": ({"draws": 0}, ConfigError, "draws=0 must be a whole number, at least 2"),
    "a word for draws": ({"draws": "a"}, ConfigError, "draws='a'"),
    "a seed": ({"seed": -1}, ConfigError, "seed=-1"),
    "a number for a CV": ({"cv": 3}, ConfigError, "cv=3 must be a function of positions"),
    "no CV": ({"cv": []}, ConfigError, r"cv=\[\] must be a function"),
    "a word for a period": ({"periodic": "a"}, ConfigError, "periodic='a' must be True or False"),
    "periods of three": ({"periodic": [True] * 3}, ConfigError, "one for each of the 1 CV"),
    "an array": ({"frames": np.zeros((10, 2))}, DataError, "frames are a ndarray; give Frames"),
    "no fit beside frames": ({"fit": 3}, ConfigError, "fit is a int"),
    "no fit": ({"fit": 3, "frames": None}, ConfigError, "fit is a int; give what bcg.fit"),
}


@pytest.mark.parametrize("name", UNANSWERED)
def test_a_free_energy_that_makes_no_sense_is_refused(frames, name):
    given, kind, told = UNANSWERED[name]
    with pytest.raises(kind, match=told):
        analysis.free_energy(**{"fit": None, "frames": frames, "cv": first, **given})


def test_regions_without_numbers_are_refused(frames):
    found = analysis.free_energy(None, frames, cv=first, bins=10, draws=20)
    with pytest.raises(ConfigError, match=r"a region of 1 CV\(s\) is \(lo, hi\), not \('a', 'b'\)"):
        found.difference(("a", "b"), (0, 1))


@pytest.mark.parametrize("ask", [analysis.reweighted, analysis.audit])
def test_what_is_no_fit_is_refused(ask):
    for other in (None, powers):
        with pytest.raises(ConfigError, match=f"fit is a {type(other).__name__}; give what bcg.fit"):
            ask(other)


@pytest.mark.parametrize("name", WRONG)
def test_a_question_without_an_answer_is_refused(frames, name):
    ask, kind, told = WRONG[name]
    with pytest.raises(kind, match=told):
        ask(frames)


def test_steps_are_functions_of_pairs(frames):
    found = analysis.spectrum(lambda x: (x > 0).float(), frames, lag=0.1, modes=1, draws=20)
    assert np.isfinite(found.eigenvalues).all()


def test_a_constant_beside_other_functions_does_no_harm(frames):
    alone = analysis.spectrum(powers, frames, modes=1, draws=20)
    beside = analysis.spectrum(lambda x: torch.cat([powers(x), torch.ones_like(x)], 1), frames, modes=1, draws=20)
    assert np.allclose(alone.eigenvalues, beside.eigenvalues, rtol=1e-9)


def test_positions_of_another_system_are_refused(frames):
    found = analysis.spectrum(powers, frames, modes=1, draws=20)
    with pytest.raises(DataError, match="6 functions at these positions, and 2"):
        found.eigenfunctions(np.zeros((5, 3)))
