"""The feed: which frames a step reads, from memory and from disk, ahead of time, and what chunks do to a batch."""

import gc
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any
from uuid import uuid4

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import bayescg as bcg
from bayescg.data import Frames
from bayescg.data.rows import Rows
from bayescg.errors import DataError
from bayescg.feeding import feed as feeds
from bayescg.feeding import shuffle
from bayescg.feeding.feed import Feed
from bayescg.feeding.shuffle import Shuffle
from bayescg.models import PredictiveCV
from bayescg.recording.functional import state_of

CPU = torch.device("cpu")


def readers() -> list[threading.Thread]:
    return [t for t in threading.enumerate() if t.name.startswith("bayescg-feed")]


@pytest.fixture(autouse=True)
def no_thread_left() -> Iterator[None]:
    yield
    if readers():
        gc.collect()
    deadline = time.monotonic() + 10
    while readers() and time.monotonic() < deadline:
        time.sleep(0.01)
    assert not readers()


@pytest.fixture
def small_pools(monkeypatch) -> Callable[..., None]:
    """Switch to tiny pools, of 8 chunks, and keep nothing on the device (or all, if `resident`)."""

    def switch(resident: bool = False, pool: int = 1500) -> None:
        monkeypatch.setattr(shuffle, "CHUNKS", 8)
        monkeypatch.setattr(feeds, "_MIXED_BYTES", 0)
        monkeypatch.setattr(feeds, "_POOL_BYTES", pool)
        monkeypatch.setattr(feeds, "_RESIDENT_BYTES", 2**31 if resident else 0)

    return switch


@pytest.fixture
def frames(tmp_path) -> Callable[..., Frames]:
    """Maker of 103 frames with everything that a feed reads, in memory or on disk."""

    def make(mapped: bool = False, n: int = 103, dtype: type = np.float32) -> Frames:
        x = np.random.default_rng(0).normal(size=(n, 4)).astype(dtype)
        given = {"x": x, "forces": -3 * x}
        if mapped:
            for name, values in given.items():
                path = tmp_path / f"{name}-{uuid4()}.npy"  # a file that is mapped must not be written again
                np.save(path, values)
                given[name] = np.load(path, mmap_mode="r")
        more: dict[str, Any] = {"energy": np.arange(n) / 7, "labels": np.arange(n) % 5}
        more["commitments"] = np.arange(2 * n).reshape(n, 2)
        return Frames.from_numpy(given["x"], unit="reduced", dt=1.0, forces=given["forces"], **more)

    return make


def model_of(frames: Frames) -> PredictiveCV:
    model = PredictiveCV.example()[0]
    model.setup(frames)
    return model


def feed_of(frames: Frames, size: int = 10, **more: Any) -> Feed:
    return Feed(model_of(frames), frames, size, CPU, 3, **more)


def equal(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[k], b[k]) and a[k].dtype == b[k].dtype for k in a)


def test_up_to_two_gibibytes_an_epoch_is_one_permutation(frames):
    """The numbers that fits have been made with since the first version."""
    feed = feed_of(frames())
    for epoch in (0, 1, 5):
        order = torch.randperm(103, generator=torch.Generator().manual_seed(3 * 1_000_003 + epoch))
        for k in (0, 4, 9):
            assert torch.equal(feed.indices(10 * epoch + k), order[10 * k : 10 * k + 10])
    assert torch.equal(feed_of(frames(), 200).indices(7), torch.arange(103))


@settings(deadline=None, max_examples=60)
@given(st.integers(1, 120), st.integers(1, 60), st.integers(1, 80), st.integers(1, 12), st.integers(0, 3))
def test_every_frame_comes_once_an_epoch(n, size, pool, chunks, seed):
    size = min(size, n)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(shuffle, "CHUNKS", chunks)
        order, jumping = (Shuffle(n, size, seed, pool) for _ in range(2))
        steps = list(range(3 * (n // size)))
        found = [order.indices(step).tolist() for step in steps]
        assert {len(batch) for batch in found} == {size}
        for epoch in range(3):
            drawn = np.concatenate(found[epoch * (n // size) : (epoch + 1) * (n // size)])
            assert len(np.unique(drawn)) == len(drawn) == n - n % size
            assert drawn.min() >= 0
            assert drawn.max() < n
        for step in np.random.default_rng(0).permutation(steps):  # a pure function of the step
            assert jumping.indices(int(step)).tolist() == found[step]


def test_what_is_left_out_changes_and_pools_are_mixed(monkeypatch):
    monkeypatch.setattr(shuffle, "CHUNKS", 4)
    order = Shuffle(103, 10, 0, pool=16)
    assert (order.chunk, order.pools) == (4, 7)
    epochs = [torch.cat([order.indices(10 * e + k) for k in range(10)]) for e in range(30)]
    left_out = [set(range(103)) - set(epoch.tolist()) for epoch in epochs]
    assert {len(left) for left in left_out} == {3}
    assert len(set.union(*left_out)) > 40
    assert len({tuple(epoch.tolist()) for epoch in epochs}) == 30
    chunks = order.pool(0, 2).chunks
    assert sorted(order.pool(0, 2).frames.tolist()) == [f for a, b in chunks for f in range(a, b)]
    assert [a // 28 for a, _ in chunks] == [0, 1, 2, 3]  # one of every seven neighbouring chunks


@pytest.mark.parametrize(
    ("size", "prefetch"),
    [
        pytest.param(size, prefetch, marks=() if (size, prefetch) in ((1, 0), (10, 1), (200, 3)) else pytest.mark.slow)
        for size in (1, 10, 200)
        for prefetch in (0, 1, 3)
    ],
)
@pytest.mark.parametrize("where", ["kept", "memory", "disk", "disk in pools", "rows on disk in pools"])
def test_batches_are_the_rows_of_their_indices(where, size, prefetch, frames, small_pools, monkeypatch):
    source = frames(mapped="disk" in where)
    if "rows" in where:
        source = source[np.random.default_rng(1).permutation(103)]
        assert isinstance(source.positions, Rows)
    if "pools" in where:
        small_pools()
    elif where != "kept":
        monkeypatch.setattr(feeds, "_RESIDENT_BYTES", 0)
    weight = {0: None, 1: torch.rand(103), 3: torch.rand(3, 103)}[prefetch]
    feed = feed_of(source, size, prefetch=prefetch, weight=weight)
    assert (feed._stream is None) == (where == "kept")
    for step in (0, 1, 2, 3, 11, 25, 24, 300, 0):
        index = feed.indices(step)
        batch = feed.batch(step)
        fields = {"x": "positions"} | {name: name for name in ("forces", "energy", "labels", "commitments")}
        expected = {name: torch.as_tensor(source.gather(index.numpy(), field)) for name, field in fields.items()}
        expected |= {name: expected[name].float() for name in ("energy", "commitments")}
        if weight is not None:
            expected["weight"] = weight[..., index]
        assert equal(batch, expected)
        assert torch.equal(feed.inputs(index), expected["x"])
        for values in batch.values():
            assert values.is_contiguous()
            assert values.data_ptr() % 16 == 0
    feed.close()
    assert not readers()
    assert equal(feed.batch(3), feed_of(source, size, prefetch=0, weight=weight).batch(3))


def test_a_batch_depends_on_seed_and_step_only(frames, small_pools):
    """Not on where the frames lie, what is kept, or where reading begins."""
    kept, read = [], []
    for found, resident, mapped in ((kept, True, False), (read, False, True)):
        small_pools(resident)
        feed = feed_of(frames(mapped), weight=torch.arange(103.0))
        found.extend(feed.batch(step) for step in range(40))
    assert all(equal(a, b) for a, b in zip(kept, read, strict=True))
    for first in (1, 17, 39):
        resumed = feed_of(frames(True), weight=torch.arange(103.0))
        assert equal(resumed.batch(first), kept[first])


def test_frames_in_double_precision_are_fed_in_the_models(frames, small_pools):
    source = frames(dtype=np.float64)
    model = model_of(source)
    for resident in (True, False):
        small_pools(resident)
        for dtype in (torch.float32, torch.float64):
            batch = Feed(model.to(dtype), source, 10, CPU, 0).batch(0)
            assert {name: v.dtype for name, v in batch.items()} == {
                "x": dtype, "forces": dtype, "energy": dtype, "labels": torch.int64, "commitments": dtype,
            }  # fmt: skip


def test_batches_may_be_kept_while_others_are_read(frames, small_pools):
    small_pools()
    feed = feed_of(frames(True))
    batches = [feed.batch(step) for step in range(30)]
    for step, batch in enumerate(batches):
        assert torch.equal(batch["x"], feed.inputs(feed.indices(step)))


class Failing(Rows):
    """Rows of a disk that goes away after some readings."""

    error: BaseException = OSError(5, "Input/output error")
    readings = 500

    def __getitem__(self, index: Any) -> np.ndarray:
        self.readings -= 1
        if self.readings < 0:
            raise self.error
        return super().__getitem__(index)


@pytest.mark.parametrize("prefetch", [0, 2])
def test_a_reader_that_fails_raises_where_batches_are_asked_for(prefetch, frames, small_pools):
    small_pools()
    good = frames(True)
    source = replace(good, positions=Failing(good.positions, np.arange(103)))
    feed, good_feed = feed_of(source, prefetch=prefetch), feed_of(good, prefetch=0)
    step = 0

    def read_on() -> None:
        nonlocal step
        while True:
            assert equal(feed.batch(step), good_feed.batch(step))
            step += 1

    with pytest.raises(DataError, match=r"cannot be read: \[Errno 5\] Input/output error.*run_dir"):
        read_on()
    assert 0 < step < 1000
    assert not readers()
    source.positions.readings = 10**9  # the disk is there again
    assert equal(feed.batch(step), good_feed.batch(step))
    feed.close()


def test_other_errors_of_the_reader_come_as_they_are(frames, small_pools, monkeypatch):
    small_pools()
    feed = feed_of(frames(True))
    monkeypatch.setattr(PredictiveCV, "inputs", lambda self, x: x.no_such_method())
    with pytest.raises(AttributeError, match="no_such_method"):
        feed.batch(0)


def test_a_dropped_feed_ends_its_thread(frames, small_pools):
    small_pools()
    feed = feed_of(frames(True))
    feed.batch(0)
    assert len(readers()) == 1
    del feed  # the fixture waits for the end of the thread


def test_a_waiting_reader_takes_no_more_than_its_blocks(frames, small_pools, monkeypatch):
    """Reading ahead stops after `prefetch` blocks, however long the step takes."""
    small_pools()
    monkeypatch.setattr("bayescg.feeding.stream.BLOCK_STEPS", 1)
    source = frames(True)
    feed = feed_of(source, prefetch=3)
    stream = feed._stream
    assert stream is not None
    made: list[int] = []
    read = stream._read
    monkeypatch.setattr(stream, "_read", lambda number, out: (made.append(number), read(number, out))[1])
    for step in range(3):
        feed.batch(step)
        deadline = time.monotonic() + 10
        while len(made) < step + 4 and time.monotonic() < deadline:
            time.sleep(0.001)
        time.sleep(0.02)
        assert made == list(range(step + 4))
    feed.close()


def test_a_fit_is_the_same_from_disk_in_pools(tmp_path, toy_frames, small_pools):
    memory = toy_frames(64)
    np.save(tmp_path / "x.npy", memory.positions)
    mapped = replace(memory, positions=np.load(tmp_path / "x.npy", mmap_mode="r"))
    fits = []
    for source, resident in ((memory, True), (mapped, False)):
        small_pools(resident, pool=320)
        options: dict[str, Any] = {"steps": 40, "batch_size": 16, "uncertainty": "none", "compile": "off"}
        fits.append(state_of(bcg.fit(PredictiveCV.example()[0], source, **options).model))
    assert fits[0].keys() == fits[1].keys()
    assert all(torch.equal(fits[0][k], fits[1][k]) for k in fits[0])


def series(kind: str, n: int, chunk: int) -> np.ndarray:
    """One coordinate of n frames: independent, alike within chunks and not beyond, or slowly forgotten."""
    rng = np.random.default_rng(5)
    if kind == "independent":
        return rng.normal(size=n)
    if kind == "alike within chunks":
        return np.repeat(rng.normal(size=n // chunk), chunk)
    forget = {"forgotten in a chunk": chunk, "forgotten in a pool": 16 * chunk, "drifting": n}[kind]
    x, noise = np.zeros(n), rng.normal(size=n)
    for k in range(1, n):
        x[k] = np.exp(-1 / forget) * x[k - 1] + noise[k]
    return x


@pytest.mark.parametrize(
    "kind", ["independent", "alike within chunks", "forgotten in a chunk", "forgotten in a pool", "drifting"]
)
def test_means_of_batches_vary_as_stated(kind, monkeypatch):
    """The variance of batch means is the stated one within 4 standard errors, over 150 epochs.

    It never exceeds that of random batches by more than 1 + (B - 1) / K, and hardly does where frames forget within a
    chunk or drift slowly. Pools of neighbouring chunks, the control, have far more.
    """
    n, chunk, chunks, size = 4096, 16, 32, 32
    monkeypatch.setattr(shuffle, "CHUNKS", chunks)
    x = series(kind, n, chunk)
    x -= x.mean()
    order = Shuffle(n, size, 0, pool=chunk * chunks)
    pools, m = n // (chunk * chunks), chunk * chunks
    assert (order.chunk, order.pools) == (chunk, pools)
    between = x.reshape(chunks, pools, chunk).mean(2).var(1).sum() / chunks**2
    stated = between + (1 - size / m) / size * (x.var() - between) * m / (m - 1)
    random = (1 - size / n) / size * x.var() * n / (n - 1)

    values, per_epoch = torch.as_tensor(x), n // size
    found = np.array([
        np.mean([values[order.indices(epoch * per_epoch + k)].mean() ** 2 for k in range(per_epoch)])
        for epoch in range(150)
    ])  # fmt: skip
    assert abs(found.mean() - stated) < 4 * found.std(ddof=1) / np.sqrt(len(found))
    assert stated / random < 1.01 * (1 + (size - 1) / chunks)
    if kind in ("independent", "drifting"):
        assert stated / random < 1.1
    if kind in ("forgotten in a pool", "drifting"):
        neighbours = (x.reshape(pools, m).mean(1) ** 2).mean()
        assert neighbours > 10 * between
        assert (neighbours + (x.var() - neighbours) / size) / random > 1.5 + (size - 1) / chunks


@pytest.mark.parametrize("cuda", [False, True])
def test_the_thread_computes_only_where_there_is_no_cuda(cuda, frames, small_pools, monkeypatch):
    """A CUDA call in another thread would break the capture of a graph; the device is played by the CPU here."""
    small_pools()
    expected = feed_of(frames(True), weight=torch.ones(103), prefetch=0)
    feed = feed_of(frames(True), weight=torch.ones(103))
    assert feed._stream is not None
    threads, inputs, empty = set(), PredictiveCV.inputs, torch.empty
    if cuda:
        feed._stream.pinned = True
        monkeypatch.setattr(torch, "empty", lambda *a, pin_memory=False, **more: empty(*a, **more))
    for step in (0, 1, 70, 140):
        batch = expected.batch(step)
        with monkeypatch.context() as patch:
            patch.setattr(
                PredictiveCV, "inputs", lambda m, x: (threads.add(threading.current_thread().name), inputs(m, x))[1]
            )
            assert equal(feed.batch(step), batch)
            feed.close()
    assert all(name == "MainThread" if cuda else name.startswith("bayescg-feed") for name in threads)
    assert threads


@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device here")
@pytest.mark.parametrize("kept", [True, False])
def test_cuda_is_fed_the_same(kept, frames, small_pools, monkeypatch):
    small_pools()
    monkeypatch.setattr(feeds, "_resident_bytes", lambda device: 2**31 if kept and device.type == "cuda" else 0)
    cuda, weight = torch.device("cuda"), torch.rand(3, 103)
    here = feed_of(frames(True), weight=weight)
    model = model_of(frames()).to(cuda)
    there = Feed(model, frames(True), 10, cuda, 3, weight=weight)
    for step in range(30):
        assert equal({k: v.cpu() for k, v in there.batch(step).items()}, here.batch(step))
    here.close()
    there.close()
