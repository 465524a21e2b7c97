"""Lagged pairs through a fit: what a batch holds, what is split, what is counted, and what is refused."""

import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyro
import pyro.distributions as dist
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.signal import lfilter
from torch import nn

import bayescg as bcg
from bayescg.data import Frames, Pairs
from bayescg.data.rows import Rows
from bayescg.errors import CheckpointError, DataError, Interrupted
from bayescg.feeding import feed as feeds
from bayescg.feeding import shuffle
from bayescg.feeding.feed import Feed, relaxation
from bayescg.inference.run import Job
from bayescg.models import PredictiveCV
from bayescg.recording.functional import state_of

CPU = torch.device("cpu")
KEEP, NOISE = 0.8, 0.5


class Regression(bcg.Model):
    """Each frame from the one a lag before: y ~ N(a x, 0.5^2), a ~ N(0, 1)."""

    needs_pairs = True
    uncertainty = "mean-field"

    def __init__(self, lag: float | None = None):
        super().__init__()
        self.lag = lag
        self.slope = nn.Parameter(torch.zeros(1))

    def model(self, batch):
        slope = pyro.sample("slope", dist.Normal(0 * self.slope, 1.0).to_event(1))
        x = batch.x
        assert x is not None
        with batch.plate("frames"):
            pyro.sample("y", dist.Normal(slope * x, NOISE).to_event(1), obs=batch.y)

    def guide(self, batch):
        pass

    def setup(self, frames):
        self.lag = frames.lag

    def config(self):
        return {"lag": self.lag}

    @classmethod
    def example(cls):
        return cls(), chain(40).lagged(1.0), None


def chain(n: int = 300, trajectories: int = 1, seed: int = 0, dim: int = 1, **more: Any) -> Frames:
    """An autoregressive chain with x' ~ N(KEEP x, NOISE^2)."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n, dim))
    for k in range(1, n):
        x[k] = KEEP * x[k - 1] + NOISE * rng.normal(size=dim)
    trajectory = np.arange(n) * trajectories // n
    return Frames.from_numpy(
        x.astype(np.float32), unit="reduced", dt=1.0, temperature_kT=1.0, trajectory=trajectory, **more
    )


def fitted(pairs: Any, **more: Any) -> bcg.Fit:
    options = {"steps": 60, "batch_size": 32, "learning_rate": 0.05, "compile": "off", "validation": 0.2}
    return bcg.fit(Regression(), pairs, **{**options, "uncertainty": "none", **more})


def posterior(pairs: Pairs, weight: float) -> tuple[float, float]:
    """Exact mean and standard deviation of the slope, each pair counting `weight` times."""
    x, y = (v.double().ravel() for v in map(torch.as_tensor, pairs.gather(slice(None))))
    precision = 1 + weight * float(x @ x) / NOISE**2
    return weight * float(x @ y) / NOISE**2 / precision, precision**-0.5


def on_disk(frames: Frames, path: Path) -> Frames:
    np.save(path, frames.positions)
    return replace(frames, positions=np.load(path, mmap_mode="r"))


@pytest.mark.parametrize("size", [1, 10, 1000])
@pytest.mark.parametrize("where", ["kept", "memory", "memory in pools", "disk", "disk in pools", "rows in pools"])
def test_a_batch_holds_both_ends(where, size, tmp_path, monkeypatch):
    frames = chain(107, trajectories=3, dim=4)
    if "disk" in where or "rows" in where:
        frames = on_disk(frames, tmp_path / "x.npy")
    pairs = frames.lagged(5.0)
    if "rows" in where:
        pairs = pairs.split(blocks=4, test=0.3)[0]
        assert isinstance(pairs.frames.positions, Rows)
    if where != "kept":
        monkeypatch.setattr(feeds, "_RESIDENT_BYTES", 0)
    if "pools" in where:
        monkeypatch.setattr(shuffle, "CHUNKS", 8)
        monkeypatch.setattr(feeds, "_MIXED_BYTES", 0)
        monkeypatch.setattr(feeds, "_POOL_BYTES", 1500)
    weight = torch.rand(2, len(pairs))
    feed = Feed(PredictiveCV(dim=4), pairs, size, CPU, 3, weight=weight)
    assert (feed._stream is None) == (where == "kept")
    drawn = []
    for step in (0, 1, 2, 7, 300, 5):
        index = feed.indices(step)
        drawn.append(index)
        now, later = pairs.gather(index.numpy())
        batch = feed.batch(step)
        assert batch.keys() == {"x", "y", "weight"}
        for name, expected in (("x", now), ("y", later)):
            assert torch.equal(batch[name], torch.as_tensor(expected))
            assert batch[name].is_contiguous()
        assert torch.equal(batch["weight"], weight[:, index])
        assert torch.equal(feed.inputs(index), batch["x"])
    feed.close()
    assert all(len(index) == min(size, len(pairs)) for index in drawn)


def test_frames_are_kept_once():
    frames = chain(1000, dim=50)
    pairs = frames.lagged(3.0)
    feed = Feed(PredictiveCV(dim=50), pairs, 16, CPU, 0)
    assert [v.shape for v in feed._kept.values()] == [(1000, 50)]
    assert feed._ends["y"][1].data_ptr() == torch.as_tensor(pairs.j).data_ptr()


@settings(deadline=None, max_examples=60)
@given(st.lists(st.integers(1, 60), min_size=1, max_size=4), st.integers(1, 12), st.integers(2, 30), st.integers(0, 3))
def test_no_pair_reaches_from_one_part_into_the_other(lengths, lag, blocks, seed):
    n = sum(lengths)
    trajectory = np.repeat(np.arange(len(lengths)), lengths)
    x = np.arange(n, dtype=float)[:, None]
    frames = Frames.from_numpy(x, unit="reduced", dt=1.0, trajectory=trajectory)
    try:
        pairs = frames.lagged(float(lag))
        parts = pairs.split(blocks=blocks, test=0.3, seed=seed)
    except DataError:
        return
    used = []
    for part in parts:
        now, later = (v.ravel() for v in part.gather(slice(None)))
        np.testing.assert_array_equal(later - now, lag)
        assert (trajectory[now.astype(int)] == trajectory[later.astype(int)]).all()
        used.append((set(part.frames.positions.ravel()), now, later))
        assert set(now) | set(later) <= used[-1][0]
    assert not used[0][0] & used[1][0]
    for (mine, _, _), (_, now, later) in (used, used[::-1]):  # nor over a piece of the other
        assert not any(set(np.arange(a, b)) & mine for a, b in zip(now, later, strict=True))


def test_a_split_keeps_a_selection_and_blocks_of_several_lags():
    pairs = chain(2000).lagged(40.0)
    train, test = pairs.split(blocks=50, test=0.2)
    runs = np.flatnonzero(np.diff(test.order) != 1)
    assert len(test) / (len(runs) + 1) >= 3 * 40  # blocks of 160 frames, not of 40, which would hold no pair
    assert len(train) + len(test) > 0.5 * len(pairs)
    thin = pairs[::7].split(blocks=5, test=0.2)[0]
    assert set(thin.order) <= set(pairs.order[::7])
    with pytest.raises(DataError, match=r"none of 5 pairs 10 apart .*validation=0"):
        chain(15).lagged(10.0).split()


@pytest.mark.parametrize("lag", [1, 5])
def test_the_weight_of_overlapping_pairs_is_that_of_their_error(lag):
    """Least-squares slopes of 300 chains vary by what pairs counted 1/lag each say, or less, to 3 standard errors.

    Overlapping pairs are worth somewhat more than as many as fit side by side. Counted in full (the control) they give
    less than half the variance; by the frames' own inefficiency, 9, they would give several times too much.
    """
    slopes, said = [], []
    for seed in range(300):
        rng = np.random.default_rng(seed)
        noise = rng.normal(size=400) * np.sqrt(1 - KEEP**2)
        x = np.asarray(lfilter([1.0], [1.0, -KEEP], noise))[50:]
        now, later = x[:-lag], x[lag:]
        slopes.append(now @ later / (now @ now))
        said.append((1 - KEEP ** (2 * lag)) / (now @ now))
    ratio = np.mean(said) * lag / np.var(slopes)
    assert 1 - 3 * np.sqrt(2 / 300) < ratio < 2
    if lag > 1:
        assert ratio / lag < 0.5


def test_blocks_of_pairs_are_as_long_as_their_memory():
    frames = chain(40_000)
    model = Regression()
    g = relaxation(model, frames)
    assert g == pytest.approx((1 + KEEP) / (1 - KEEP), rel=0.2)
    assert relaxation(model, frames.lagged(2.0)) == g
    assert relaxation(model, frames.lagged(50.0)) == 50
    assert relaxation(model, frames.lagged(50.0)[::10]) == 5
    assert relaxation(model, frames.lagged(2.0)[::100]) == 1
    assert [frames.lagged(50.0)[::k].overlap for k in (1, 10, 100)] == [50, 5, 1]


def test_a_fit_is_the_exact_posterior():
    pairs = chain(400).lagged(4.0)
    fit = fitted(pairs, validation=0.0, batch_size=1000, steps=600, compile="trace", uncertainty="mean-field")
    assert fit.diagnostics["effective_frames"] == pytest.approx(len(pairs) / 4)
    mean, sd = posterior(pairs, 1 / 4)
    assert float(fit.weights.point["slope"]) == pytest.approx(mean, abs=0.05 * sd)
    assert float(fit.weights.tensors["slope"].exp()) == pytest.approx(sd, rel=0.05)
    # the control: pairs counted in full give about half that width
    assert posterior(pairs, 1.0)[1] < 0.6 * sd


def test_log_density_of_pairs_is_exact():
    frames = chain(60)
    fit = fitted(frames.lagged(2.0))
    now, later = map(torch.as_tensor, frames.lagged(2.0).gather(slice(None)))
    exact = dist.Normal(fit.weights.point["slope"] * now, NOISE).log_prob(later)[:, 0]
    torch.testing.assert_close(fit.log_density(frames.lagged(2.0))[0], exact)
    assert fit.frames is not None
    assert fit.model.lag == 2.0
    with pytest.raises(DataError, match=r"of lag 2, these pairs are 3 apart; use frames.lagged\(2\)"):
        fit.log_density(frames.lagged(3.0))
    with pytest.raises(DataError, match="pairs of frames"):
        fit.log_density(frames)


@pytest.mark.slow
def test_held_out_pairs_stop_a_fit():
    fit = fitted(chain(300).lagged(1.0), steps=2000)
    assert fit.cost["steps"] < 2000
    assert {"validation", "training"} <= fit.log[0].keys()
    assert fit.weights.point["slope"].item() == pytest.approx(KEEP, abs=0.1)


@pytest.mark.slow
@pytest.mark.parametrize("choice", ["ensemble", "bootstrap"])
def test_refits_side_by_side(choice):
    pairs = chain(2000).lagged(1.0)
    fit = fitted(pairs, uncertainty=choice, members=40, steps=250, batch_size=500, validation=0.0)
    slopes = fit.weights.tensors["slope"][:, 0]
    assert slopes.shape == (39,)  # and the one with the frames as they are
    # least squares on an autoregressive chain: sd^2 = (1 - a^2) / n; the sd of 39 is known to 11 %
    assert float(slopes.std()) == pytest.approx(((1 - KEEP**2) / 2000) ** 0.5, rel=0.35)


def test_traced_is_plain_bit_for_bit():
    pairs = chain(120).lagged(2.0)
    plain, traced = (fitted(pairs, uncertainty="mean-field", compile=mode) for mode in ("off", "trace"))
    assert traced.diagnostics["compiled"] == "trace"
    assert torch.equal(plain.weights.point["slope"], traced.weights.point["slope"])


def test_from_disk_in_pools_the_same(tmp_path, monkeypatch):
    memory, found = chain(200, trajectories=2), []
    monkeypatch.setattr(shuffle, "CHUNKS", 8)
    monkeypatch.setattr(feeds, "_MIXED_BYTES", 0)
    monkeypatch.setattr(feeds, "_POOL_BYTES", 320)
    for frames, resident in ((memory, 2**31), (on_disk(memory, tmp_path / "x.npy"), 0)):
        monkeypatch.setattr(feeds, "_RESIDENT_BYTES", resident)
        found.append(state_of(fitted(frames.lagged(3.0)).model)["slope"])
    assert torch.equal(*found)
    assert not [t for t in threading.enumerate() if t.name.startswith("bayescg-feed")]


def test_the_reading_thread_ends_with_a_fit_that_fails(tmp_path, monkeypatch):
    monkeypatch.setattr(feeds, "_RESIDENT_BYTES", 0)
    advance = Job.advance

    def broken(job: Job) -> None:
        if job.step == 3:
            raise OSError("no more")
        advance(job)

    monkeypatch.setattr(Job, "advance", broken)
    with pytest.raises(OSError, match="no more") as kept:
        fitted(chain(100).lagged(1.0))
    assert kept.value.__traceback__ is not None  # which holds the job
    assert not [t for t in threading.enumerate() if t.name.startswith("bayescg-feed")]


def test_an_interrupted_fit_goes_on_as_if_it_had_not_been(tmp_path, monkeypatch):
    pairs, options = (
        chain(200).lagged(2.0),
        {"uncertainty": "mean-field", "checkpoint_every": 10, "learning_rate": 1e-3},
    )
    whole = fitted(pairs, **options)
    advance = Job.advance

    def stopped(job: Job) -> None:
        if job.step == 23:
            raise Interrupted("here")
        advance(job)

    monkeypatch.setattr(Job, "advance", stopped)
    with pytest.raises(Interrupted):
        fitted(pairs, run_dir=tmp_path, **options)
    monkeypatch.setattr(Job, "advance", advance)
    again = fitted(pairs, run_dir=tmp_path, **options)
    assert torch.equal(whole.weights.point["slope"], again.weights.point["slope"])
    for other in (chain(200).lagged(3.0), pairs[::2]):
        with pytest.raises(CheckpointError, match=r"another (data|model)"):
            fitted(other, run_dir=tmp_path, **options)


def test_saved_and_loaded(tmp_path):
    fit = fitted(chain(60).lagged(2.0))
    fit.save(tmp_path)
    again = bcg.Fit.load(tmp_path, model=Regression(lag=2.0))
    assert torch.equal(again.log_density(chain(60).lagged(2.0)), fit.log_density(chain(60).lagged(2.0)))


def test_the_wrong_kind_of_data_is_refused():
    frames = chain(50)
    with pytest.raises(DataError, match=r"Regression learns from pairs .* frames.lagged\(lag\)"):
        fitted(frames)
    with pytest.raises(DataError, match="PredictiveCV learns from single frames"):
        bcg.fit(PredictiveCV(), frames.lagged(1.0))  # pyright: ignore[reportArgumentType]
    with pytest.raises(DataError, match="weights of whole paths"):
        fitted(chain(50, weights=np.arange(1.0, 51.0)).lagged(1.0))
    fitted(chain(50, weights=np.full(50, 2.0)).lagged(1.0), steps=2)
