import copy
from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np
import pytest
import torch
from scipy.stats import kstest

import bayescg as bcg
from bayescg.analysis import predictive_check
from bayescg.data import Frames
from bayescg.errors import DataError, ModelError
from bayescg.models import PredictiveCV, TimeLaggedAutoencoder
from tests.calibration import predictions


class Known:
    """Stands in for a fit: x ~ N(mean, spread^2), half the variance of it from z, and posterior draws of the mean."""

    model = None
    frames = None

    def __init__(self, means, spread=1.0):
        self.means, self.spread = np.asarray(means), spread

    def generate_repeats(self, frames, repeats=2, draws=None, seed=0):
        rng = np.random.default_rng(seed)
        z, noise = rng.normal(size=(frames, 1)), rng.normal(size=(frames, repeats))
        x = self.means[:, None, None] + self.spread * (z + noise) / 2**0.5
        return torch.as_tensor(x[..., None])

    def generate(self, frames, draws=None, seed=0):
        return self.generate_repeats(frames, 1, draws, seed + 1)[:, :, 0]


class First:
    name = "first"

    def __init__(self, unit="nm"):
        self.unit = unit

    def __call__(self, x):
        return x[..., 0]


def checked(fit: Any, x, observable=None, **settings):
    frames = Frames.from_numpy(np.asarray(x).reshape(-1, 1), unit="reduced", **settings.pop("frames", {}))
    return predictive_check(fit, frames, [observable or First()], **{"bins": 20, **settings})["first"]


def test_an_observable_is_given_generated_configurations_as_it_is_given_frames():
    """A distance between columns, written for (n, dim): on any other shape it would be another number, or an error."""
    model, frames, _ = PredictiveCV.example()
    fit = bcg.fit(model, frames, steps=20, uncertainty="none", compile="off")

    def apart(x):
        assert x.ndim == 2
        return (x[:, 0] - x[:, 2]).abs()

    x = fit.generate(500, seed=0)[0]
    check = predictive_check(fit, frames, [apart], samples=500, seed=0)["apart"]
    assert check.predicted_mean[0] == pytest.approx(float(apart(x).mean()), rel=1e-5)

    def sums(x):
        return x.sum(0)

    with pytest.raises(DataError, match=r"sums gave shape .*one value each, \(n,\), is needed"):
        predictive_check(fit, frames, [sums])


@pytest.fixture
def fewer_replicates(monkeypatch):
    """A third of them: p-values in steps of 1/300, of which the tests tell none below 1/20."""
    monkeypatch.setattr("bayescg.analysis.predictive.REPLICATES", 300)


@cache
def experiment(seed, n=50, over_confident=False, refits=None):
    """Fit the mean of n draws exactly, and check n new ones."""
    rng = np.random.default_rng(seed)
    seen, new = rng.normal(size=n), rng.normal(size=n)
    spread = 0.0 if over_confident else n**-0.5
    return checked(Known(seen.mean() + spread * rng.normal(size=refits or 100)), new, seed=seed)


@pytest.mark.usefixtures("fewer_replicates")
def test_p_values_of_new_data_are_uniform_and_bands_cover():
    """Of 60 data sets: by Kolmogorov and Smirnov at 0.1 %, and bands to 3.3 standard errors."""
    checks = [experiment(seed) for seed in range(60)]
    assert kstest([c.p_mean for c in checks], "uniform").pvalue > 0.001
    covered = np.array([c.coverage for c in checks])
    assert abs(covered.mean() - 0.9) < 3.3 * covered.std() / 60**0.5


@pytest.mark.slow  # by default: test_correlated_frames_count_less
@pytest.mark.usefixtures("fewer_replicates")
def test_p_values_of_correlated_frames_are_uniform_too():
    """Squares forget sooner than what is squared, and so do bins: by the average's memory, p would be close to 1/2.

    By that memory normal scores of p spread by .6 in place of 1, and 99 % of the bins lie in their bands.
    """
    checks = [predictions.check(seed, 0.9, 1000) for seed in range(60)]
    assert abs(np.std([predictions.score(c.p_sd).mean for c in checks]) - 1) < 3.3 / 120**0.5
    worth = np.array([c.effective_frames for c in checks])
    assert worth.mean() == pytest.approx(1000 / 19, rel=0.2)
    assert 0.87 < np.mean([c.coverage for c in checks]) < 0.97  # of few effective counts bands are a little wide


@pytest.mark.slow
@pytest.mark.usefixtures("fewer_replicates")
def test_few_refits_are_stretched_to_the_right_p_values():
    p = np.array([experiment(seed, refits=4).p_mean for seed in range(60)])
    assert np.mean((p > 0.05) & (p < 0.95)) > 0.8


@pytest.mark.slow  # by default: bands of a trained model
@pytest.mark.usefixtures("fewer_replicates")
def test_an_over_confident_fit_has_narrower_bands_and_worse_p_values():
    honest, sure = [experiment(seed) for seed in range(60)], [experiment(s, over_confident=True) for s in range(60)]
    assert np.ptp(sure[0].credible, axis=0).max() == 0 < np.ptp(honest[0].credible, axis=0).max()
    width = [np.mean([np.ptp(c.predictive, axis=0).mean() for c in cs]) for cs in (honest, sure)]
    assert width[1] < width[0]
    inside = [np.mean([0.05 < c.p_mean < 0.95 for c in cs]) for cs in (honest, sure)]
    assert inside[1] < 0.82 < inside[0]


@pytest.mark.parametrize(("wrong", "statistic"), [(Known([0.0] * 3, spread=2.0), "p_sd"), (Known([1.0] * 3), "p_mean")])
def test_a_wrong_model_has_extreme_p_values(wrong, statistic):
    x = np.random.default_rng(0).normal(size=200)
    right = checked(Known([x.mean()] * 3), x)
    assert 0.02 < getattr(right, statistic) < 0.98
    check = checked(wrong, x)
    assert getattr(check, statistic) > 0.995
    assert check.coverage < right.coverage


def test_uncertainty_is_told_apart_by_source():
    rng = np.random.default_rng(0)
    check = checked(Known(0.3 * rng.normal(size=400)), rng.normal(size=400), samples=5000)
    assert check.observed_mean_sd == pytest.approx(400**-0.5, rel=0.2)
    assert check.intrinsic_sd == pytest.approx(0.5**0.5, rel=0.03)
    assert check.average.sd == pytest.approx(0.3, rel=0.1)
    assert check.average.sd_by_source == {"parameter": check.average.sd}


def test_a_fit_without_parameter_uncertainty_predicts_no_interval():
    average = checked(Known([0.0]), np.random.default_rng(0).normal(size=400)).average
    assert (average.sd, average.ci90, average.sd_by_source) == (0.0, None, {})
    assert "no parameter uncertainty" in repr(average)


def test_correlated_frames_count_less():
    x = np.repeat(np.random.default_rng(0).normal(size=300), 10)
    shuffled = np.random.default_rng(1).permutation(x)
    taken, in_time = checked(Known([0.0]), shuffled), checked(Known([0.0]), x, frames={"dt": 1.0})
    assert taken.effective_frames == pytest.approx(3000)
    assert checked(Known([0.0]), x).effective_frames == in_time.effective_frames  # which neighbours tell
    assert in_time.effective_frames == pytest.approx(300, rel=0.15)
    assert np.ptp(in_time.predictive, axis=0).mean() > 2 * np.ptp(taken.predictive, axis=0).mean()
    assert in_time.observed_mean_sd == pytest.approx(300**-0.5, rel=0.25)


def test_weights_count():
    x = np.random.default_rng(0).normal(size=4000)
    check = checked(Known([0.5]), x, frames={"weights": np.exp(0.5 * x)})
    assert abs(check.observed_mean - 0.5) < 0.1
    assert 0.01 < check.p_mean < 0.99
    assert check.effective_frames < 3500


def test_angles_have_circular_averages_over_the_full_circle():
    x = np.random.default_rng(0).normal(size=400)
    fit = Known(np.pi + 0.05 * np.random.default_rng(1).normal(size=50), spread=0.3)
    check = checked(fit, np.pi + 0.3 * x, First("rad"))
    assert check.periodic
    assert check.edges[[0, -1]] == pytest.approx([-np.pi, np.pi])
    assert check.observed.sum() == pytest.approx(1)
    assert check.predicted.sum(1) == pytest.approx(1)
    assert abs(np.cos(check.observed_mean) + 1) < 0.01
    assert check.observed_sd == pytest.approx(0.3, rel=0.1)
    assert check.average.sd == pytest.approx(0.05, rel=0.4)
    assert 0.02 < check.p_mean < 0.98
    assert check.intrinsic_sd == pytest.approx(0.3 / 2**0.5, rel=0.1)


def test_everything_is_in_the_dataset():
    frames = Frames.from_numpy(np.random.default_rng(0).normal(size=(100, 1)), unit="reduced")
    fit: Any = Known([0.0, 0.1])
    data = predictive_check(fit, frames, [First()], bins=12).to_dataset()
    assert dict(data["predicted"].sizes) == {"observable": 1, "draw": 2, "bin": 12}
    assert data["intrinsic_sd"].dims == ("observable",)
    assert "first: seen" in repr(predictive_check(fit, frames, [First()]))


def test_too_few_frames_are_refused():
    with pytest.raises(DataError, match="at least 10"):
        checked(Known([0.0]), np.zeros(9))


@pytest.fixture(scope="module")
def trained() -> bcg.Fit:
    model, frames, _ = PredictiveCV.example()
    return bcg.fit(model, frames, steps=600, members=6, seed=0, compile="trace", progress=False)


def test_a_trained_model_predicts_its_frames_until_it_is_broken(trained):
    fit, frames = trained, PredictiveCV.example()[1]
    good = predictive_check(fit, frames, [First()])["first"]
    assert 0.01 < good.p_mean < 0.99
    assert 0.01 < good.p_sd < 0.99
    sure = copy.copy(fit)
    alike = {k: v.mean(0).expand_as(v) for k, v in fit.weights.tensors.items()}
    sure.weights = replace(fit.weights, tensors=alike)
    narrow = predictive_check(sure, frames, [First()])["first"]
    assert np.ptp(narrow.credible, axis=0).max() < 0.01 < np.ptp(good.credible, axis=0).max()
    loud = copy.copy(fit)
    tensors = {k: v + (1.5 if k == "log_noise" else 0.0) for k, v in fit.weights.tensors.items()}
    loud.weights = replace(fit.weights, tensors=tensors)
    assert predictive_check(loud, frames, [First()])["first"].p_sd > 0.99


def test_repeats_share_what_the_latent_variables_decide(trained):
    x = trained.generate_repeats(500, 4)
    assert x.shape[1:] == (500, 4, 4)
    noise = trained.model.scale.width * trained.weights.tensors["log_noise"].exp()
    torch.testing.assert_close(x.var(2).mean(1).mean(0).sqrt(), noise.square().mean(0).sqrt(), rtol=0.1, atol=0)
    assert (x[:, :, 0, 0].std(1) > 1.5 * noise[:, 0].max()).all()


def test_models_of_pairs_are_refused_in_words():
    class Density(TimeLaggedAutoencoder):
        kind = "evidence"

    _, pairs, _ = TimeLaggedAutoencoder.example()
    fit = bcg.fit(Density(hidden=(4,)), pairs, steps=2, uncertainty="none", compile="off")
    with pytest.raises(ModelError, match=r"what follows a frame.*bcg\.analysis\.compare"):
        predictive_check(fit, pairs.frames, [First()])
    with pytest.raises(DataError, match="frames are pairs; give the frames themselves"):
        predictive_check(fit, pairs, [First()])
