"""What a batch of frames costs beside the step that learns from it.

Run with ``pytest -n 0 tests/benchmarks/test_feed.py --benchmark-only``.
The frames are kept, or read from disk in pools while the step computes; the step is the hand-written autoencoder (A).
"""

import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from bayescg.data import Frames
from bayescg.feeding import feed as feeds
from bayescg.feeding.feed import Feed
from bayescg.models import PredictiveCV
from tests.benchmarks.hand import autoencoder
from tests.benchmarks.problems import DIM, LATENT, PROBLEMS, RATE, weights

FRAMES = 1_000_000
STEPS = {64: 4000, 1024: 600, 8192: 80, 65_536: 12}


def training_step() -> Callable[[Tensor], None]:
    params = {k: torch.from_numpy(v).requires_grad_() for k, v in weights(PROBLEMS["A"]).items()}
    optimiser = torch.optim.Adam(params.values(), lr=RATE, fused=True)

    def step(x: Tensor) -> None:
        optimiser.zero_grad()
        autoencoder(params, x, torch.randn(len(x), LATENT)).backward()
        optimiser.step()

    return step


def means(feed: Feed, steps: int) -> tuple[float, float]:
    """Mean seconds of a batch and of a step on it, all waiting included, after the first reading of the disk."""
    step, asked, learned = training_step(), 0.0, 0.0
    for k in range(2):
        step(feed.batch(k)["x"])
    for k in range(2, 2 + steps):
        started = time.perf_counter()
        batch = feed.batch(k)
        got = time.perf_counter()
        step(batch["x"])
        asked, learned = asked + got - started, learned + time.perf_counter() - got
    feed.close()
    return asked / steps, learned / steps


def test_feed(benchmark, capsys, monkeypatch, tmp_path: Path):
    """Means over many steps of each kind of feed, in turn; the median of three."""
    path = tmp_path / "x.npy"
    np.save(path, np.random.default_rng(0).standard_normal((FRAMES, DIM), dtype=np.float32))

    def feed(kind: str, batch: int) -> Feed:
        x = np.load(path, mmap_mode="r" if kind == "disk" else None)
        frames = Frames.from_numpy(x, unit="reduced", temperature_kT=1.0)
        for limit in ("_RESIDENT_BYTES", "_MIXED_BYTES"):
            monkeypatch.setattr(feeds, limit, 0 if kind == "disk" else 2**31)
        return Feed(PredictiveCV(dim=DIM), frames, batch, torch.device("cpu"), 0, weight=torch.ones(FRAMES))

    def measure() -> dict[int, dict[str, np.ndarray]]:
        found = {}
        for batch, steps in STEPS.items():
            made = {kind: feed(kind, batch) for kind in ("kept", "disk")}
            rounds = [{kind: means(one, steps // 3) for kind, one in made.items()} for _ in range(3)]
            found[batch] = {kind: np.median([r[kind] for r in rounds], axis=0) for kind in made}
        return found

    found = benchmark.pedantic(measure, rounds=1, iterations=1)
    benchmark.extra_info["seconds"] = {str(b): {k: list(v) for k, v in kinds.items()} for b, kinds in found.items()}
    lines = ["  batch    step ms        kept us, share        disk us, share"]
    for batch, kinds in found.items():
        cells = [f"{1e6 * asked:14.1f} {asked / learned:7.2%}" for asked, learned in kinds.values()]
        lines.append(f"{batch:7d} {1e3 * kinds['kept'][1]:10.2f}" + "".join(cells))
    with capsys.disabled():
        print("\n" + "\n".join(lines))
