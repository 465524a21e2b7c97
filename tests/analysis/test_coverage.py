"""Coverage of intervals that are right, too narrow, biased, refused, or missing."""

import math
import signal
from pathlib import Path

import numpy as np
import pytest
from scipy.stats import binom

import bayescg as bcg
from bayescg.analysis import Quantity, coverage
from bayescg.analysis.coverage import acceptance
from bayescg.errors import ConfigError, RunError
from bayescg.models import PredictiveCV
from bayescg.recording.optimiser import Adam

TRUTH = {"mean": 1.0}


def mean(seed, width=1.0, bias=0.0):
    """A mean of 100 numbers with draws of its error, `width` times as wide as it is."""
    rng = np.random.default_rng(seed)
    error = 0.1 * rng.normal()
    return {"mean": 1 + error + 0.1 * bias + 0.1 * width * rng.normal(size=999)}


def too_narrow(seed):
    return mean(seed, width=0.5)


def biased(seed):
    return mean(seed, bias=0.6)


def test_acceptance_is_left_once_in_a_hundred_families():
    assert [acceptance(200, cells=c) for c in (3, 9, 18)] == [(167, 191), (165, 192), (164, 193)]
    low, high = acceptance(200)
    assert binom.cdf(low - 1, 200, 0.9) + binom.sf(high, 200, 0.9) <= 0.01


def test_right_intervals_pass_and_the_same_half_as_wide_do_not():
    row = (result := coverage(mean, TRUTH))["mean"]
    assert result.ok
    assert result.control_fails
    assert row.held + row.low + row.high == row.of == 200
    # half of a 90 % interval of a normal variable holds 58.9 % of them: within four standard errors
    assert abs(row.control - 117.8) < 4 * math.sqrt(200 * 0.589 * 0.411)
    assert row.width == pytest.approx(1, abs=4 / math.sqrt(400))
    assert abs(row.bias) < 4 / math.sqrt(200)


def test_too_narrow_intervals_fail_by_count_and_width():
    row = (result := coverage(too_narrow, TRUTH))["mean"]
    assert not result.ok
    assert row.width == pytest.approx(0.5, abs=4 * 0.5 / math.sqrt(400))
    assert "FAILED" in repr(result)


def test_bias_fails_with_its_size_and_its_side():
    row = (result := coverage(biased, TRUTH))["mean"]
    assert not result.ok
    assert row.bias == pytest.approx(0.6, abs=4 / math.sqrt(200))
    assert row.high > 2 * row.low


def test_a_row_that_its_bias_fails_says_so():
    far = coverage(lambda seed: mean(seed, bias=0.6), TRUTH, repeats=12, progress=False)["mean"]
    assert not far.ok
    assert far.holds
    assert far.verdict == "FAILED by its bias; of right answers so do 30% of studies of 12 repeats: take 200"
    many = coverage(lambda seed: mean(seed, bias=0.4), TRUTH, progress=False)["mean"]
    assert many.holds
    assert many.verdict == "FAILED by its bias"


def test_the_control_that_is_given_is_judged():
    result = coverage(mean, TRUTH, control=mean)
    assert result.ok
    assert not result.control_fails
    assert "PASSES" in repr(result)
    assert coverage(mean, TRUTH, control=too_narrow).control_fails


def test_answers_without_an_interval_are_counted_apart():
    def careful(seed):
        return {"mean": Quantity.of(mean(seed)["mean"], "nm", "too few" if seed % 4 == 0 else None)}

    row = coverage(careful, TRUTH)["mean"]
    assert (row.of, row.refused) == (150, 50)
    assert row.acceptance == acceptance(150)
    never = coverage(lambda seed: {"mean": Quantity.of(mean(seed)["mean"], "nm", "no")}, TRUTH, repeats=3)
    assert not never.ok
    assert never["mean"].refused == 3


def test_more_cells_allow_a_wider_range():
    assert coverage(mean, TRUTH, repeats=50, cells=100)["mean"].acceptance == acceptance(50, cells=100)


@pytest.mark.slow  # by default: workers of bcg.experiments.map
def test_processes_give_the_same_counts(monkeypatch):
    monkeypatch.syspath_prepend(Path(__file__).parents[2])  # where processes find this file
    assert coverage(mean, TRUTH, repeats=20, workers=1) == coverage(mean, TRUTH, repeats=20)


def test_an_interrupted_study_gives_the_same_counts(tmp_path):
    plain = coverage(mean, TRUTH, repeats=20)
    calls = []

    def stops(seed):
        calls.append(seed)
        if len(calls) == 8:
            raise KeyboardInterrupt
        return mean(seed)

    with pytest.raises(bcg.errors.Interrupted, match="goes on"):
        coverage(stops, TRUTH, repeats=20, out=tmp_path)
    assert coverage(stops, TRUTH, repeats=20, out=tmp_path) == plain
    assert sorted(calls) == sorted([*range(20), 7])  # the eighth is begun again, and no other


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_study_says_which_signal_stopped_it(monkeypatch, number):
    """One that comes in a fit, which ends its step first, and one that comes elsewhere in a repeat."""

    def fits(seed):
        model, frames, _ = PredictiveCV.example()
        bcg.fit(model, frames, steps=2, uncertainty="none", compile="off", seed=seed)
        return mean(seed)

    def waits(seed):
        signal.raise_signal(number)
        return mean(seed)

    with monkeypatch.context() as patch:
        patch.setattr(Adam, "step", lambda *_: signal.raise_signal(number))
        for run in (fits, waits):
            with pytest.raises(bcg.errors.Interrupted, match=f"stopped by {number.name}") as stopped:
                coverage(run, TRUTH, repeats=20)
            assert stopped.value.number == number


def test_a_repeat_that_fails_is_told_with_its_seed_after_the_others():
    def fails(seed):
        if seed == 3:
            raise ValueError("no frames")
        return mean(seed)

    with pytest.raises(RunError, match=r"1 of 6 runs failed(.|\n)*seed=3: ValueError: no frames"):
        coverage(fails, TRUTH, repeats=6)


@pytest.mark.parametrize(
    ("answer", "level", "message"),
    [
        ({"other": np.arange(9.0)}, 0.9, "answers other, not mean"),
        ({"mean": 3.0}, 0.9, r"mean: an answer is a Quantity or draws"),
        ({"mean": Quantity.of(np.arange(9.0), "")}, 0.5, "level 0.9, not 0.5"),
    ],
)
def test_what_is_no_answer_is_refused(answer, level, message):
    with pytest.raises(RunError, match=message):
        coverage(lambda seed: answer, TRUTH, level, repeats=2)


def test_a_level_is_a_part_of_one():
    with pytest.raises(ConfigError, match=r"level=90 must lie between 0 and 1"):
        coverage(mean, TRUTH, level=90)


def test_a_control_is_told_from_so_many_repeats():
    """From 44 of a quantity and 60 of each of three, intervals half as wide reach the acceptance once in a hundred."""
    assert {n: not coverage(mean, TRUTH, repeats=n).too_few for n in (24, 43, 44)} == {24: False, 43: False, 44: True}
    three: dict[str, float] = dict.fromkeys(("a", "b", "c"), 1.0)
    same = lambda seed: dict.fromkeys(three, mean(seed)["mean"])  # noqa: E731
    assert [coverage(same, three, repeats=n).too_few for n in (59, 60)] == [["a", "b", "c"], []]
    few = coverage(mean, TRUTH, repeats=24, control=mean)
    assert not few.control_fails
    assert "too few repeats to tell the control" in repr(few)
    assert "PASSES" not in repr(few)
