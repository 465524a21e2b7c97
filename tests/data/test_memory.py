"""Trajectories larger than memory: anonymous memory stays flat while frames are decoded, checked and drawn."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

WATCH = """
import json, sys, threading, time
from pathlib import Path
import numpy as np
from bayescg.data import Frames, load
from bayescg.data.store import Store

def anonymous():
    line = next(l for l in Path("/proc/self/status").read_text().splitlines() if l.startswith("RssAnon"))
    return int(line.split()[1]) / 1024

peak, done = anonymous(), threading.Event()

def watch():
    global peak
    while not done.wait(0.01):
        peak = max(peak, anonymous())

threading.Thread(target=watch, daemon=True).start()
base, start = peak, time.perf_counter()
report = {}

def passed(name):
    report[name] = round(time.perf_counter() - start, 2)
"""

STREAM = """
folder, n, passes, batch = Path(sys.argv[1]), int(sys.argv[2]), 3, 1024
rng = np.random.default_rng(0)
store = Store(folder / "x.npy")
for k in range(0, n, 100_000):
    rows = rng.standard_normal((min(100_000, n - k), 22, 3), dtype=np.float32)
    rows[:, 0, 0] = np.arange(k, k + len(rows)) % 65536
    store.append(rows)
store.finish()
passed("written")
frames = load(folder / "x.npy", unit="nm", dt=1.0, temperature=300.0)
passed("checked")
train, test = frames.split(blocks=20, test=0.2, seed=0)
passed("split")
count, total = 0, 0.0
for _ in range(passes):
    order = rng.permutation(len(train))
    for k in range(0, len(train), batch):
        x = train.gather(order[k : k + batch])
        count += len(x)
        total += float(x[:, 0, 0].astype(np.float64).sum())
passed("drawn")
expected = passes * float((train.positions.rows % 65536).astype(np.float64).sum())
assert count == passes * len(train) and abs(total - expected) < 1e-6 * expected
pairs = frames.lagged(10.0)
assert len(pairs) == n - 10
passed("paired")
"""

FEED = """
import os
import torch
import bayescg as bcg
from bayescg.feeding.feed import Feed
from bayescg.models import PredictiveCV

torch.set_num_threads(1)
folder, n, where, batch = Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3], 1024
model = PredictiveCV(dim=66)
base, start = anonymous(), time.perf_counter()
with (folder / "x.npy").open("rb") as file:  # the first pass reads the disk, not what the system still has of the file
    os.fsync(file.fileno())
    os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
x = np.load(folder / "x.npy", mmap_mode="r" if where == "disk" else None)
frames = Frames.from_numpy(x, unit="nm", dt=1.0, temperature=300.0)
passed("checked")
with (folder / "x.npy").open("rb") as file:
    os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
feed = Feed(model, frames, batch, torch.device("cpu"), 0, weight=torch.ones(n))
per_epoch = n // batch
for epoch in range(3):
    began, total, longest = time.perf_counter(), 0.0, 0.0
    for k in range(per_epoch):
        asked = time.perf_counter()
        x = feed.batch(epoch * per_epoch + k)["x"]
        longest = max(longest, time.perf_counter() - asked)
        total += float(x[:, 0].double().sum())
    report[f"pass {epoch + 1} s"] = round(time.perf_counter() - began, 2)
    report[f"longest wait {epoch + 1} s"] = round(longest, 3)
    # the n % batch frames left out are random ones: their sum is known to some standard deviations
    left = n - per_epoch * batch
    expected = float((np.arange(n) % 65536).astype(np.float64).sum())
    assert abs(total + left * 32768 - expected) <= 6 * left**0.5 * 19000, (total, expected)
feed.close()
"""

WRITE = """
folder, n = Path(sys.argv[1]), int(sys.argv[2])
rng = np.random.default_rng(0)
store = Store(folder / "x.npy")
for k in range(0, n, 100_000):
    rows = rng.standard_normal((min(100_000, n - k), 22, 3), dtype=np.float32)
    rows[:, 0, 0] = np.arange(k, k + len(rows)) % 65536
    store.append(rows)
store.finish()
"""

DECODE = """
folder = Path(sys.argv[1])
frames = load(sorted(folder.glob("*.xtc")), str(folder / "top.pdb"), memory_limit=2**20)
assert isinstance(frames.positions, np.memmap)
report["frames"] = len(frames)
report["MiB"] = frames.positions.nbytes / 2**20
passed("decoded")
"""

SPECTRUM = """
import torch
from bayescg.analysis import spectrum

torch.set_num_threads(1)
folder, n, lag = Path(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3]) or None
x = np.lib.format.open_memmap(folder / "x.npy", mode="w+", dtype=np.float32, shape=(n, 1))
rng, value = np.random.default_rng(0), np.float32(0.0)
kept = np.exp(-0.5) ** np.arange(1, 1001, dtype=np.float64)  # of an Ornstein-Uhlenbeck process, 0.5 from frame to frame
for k in range(0, n, 1000 * 1000):
    noise = np.sqrt(1 - np.exp(-1.0)) * rng.standard_normal((1000, min(1000, (n - k) // 1000)))
    for t in range(1, 1000):
        noise[t] += np.exp(-0.5) * noise[t - 1]
    for column in range(noise.shape[1]):
        rows = noise[:, column] + kept * value
        x[k + 1000 * column : k + 1000 * (column + 1), 0] = rows
        value = rows[-1]
x.flush()
del x, noise
base, start = anonymous(), time.perf_counter()
frames = Frames.from_numpy(np.load(folder / "x.npy", mmap_mode="r"), unit="reduced", dt=0.5, temperature_kT=1.0)
passed("checked")
found = spectrum(lambda x: torch.cat([x, x**2 / 4, x**3 / 9], 1), frames, lag=lag, modes=2)
passed("spectrum")
report["worst z"] = float(np.abs((found.mean.values - [1, 2]) / found.sd.values).max())
"""

REPORT = """
done.set()
print(json.dumps(report | {"base MiB": round(base, 1), "peak MiB": round(max(peak, anonymous()), 1)}))
"""

linux = pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="anonymous memory is read from /proc")


def measured(script: str, *arguments: object) -> dict[str, float]:
    """Run `script` in a process of its own; its report."""
    command = [sys.executable, "-c", WATCH + script + REPORT, *map(str, arguments)]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    figures = json.loads(result.stdout.splitlines()[-1])
    print(figures)
    return figures


@linux
def test_small_stream_stays_flat(tmp_path):
    figures = measured(STREAM, tmp_path, 200_000)
    assert figures["peak MiB"] - figures["base MiB"] < 250


@linux
@pytest.mark.slow
def test_ten_million_frames_stream_in_less_than_a_gibibyte(tmp_path):
    figures = measured(STREAM, tmp_path, 10_000_000)
    assert figures["peak MiB"] < 1024


@linux
@pytest.mark.slow
@pytest.mark.parametrize("lag", [0.0, 0.5])
def test_slow_modes_of_a_hundred_million_frames_take_the_memory_of_one(tmp_path, lag):
    few, many = (measured(SPECTRUM, tmp_path, n, lag) for n in (1_000_000, 100_000_000))
    # the time axis stays in memory up to 256 MiB, as every `Store`
    assert many["peak MiB"] - many["base MiB"] < few["peak MiB"] - few["base MiB"] + 256 + 50
    assert few["worst z"] < 4
    assert many["worst z"] < 4


@linux
@pytest.mark.slow
def test_ten_million_frames_are_fed_from_disk_beside_memory(tmp_path):
    """Three passes of 2.6 GB in batches of 1024: two pools from disk, all of it in memory."""
    measured(WRITE, tmp_path, 10_000_000)
    disk, memory = (measured(FEED, tmp_path, 10_000_000, where) for where in ("disk", "memory"))
    assert disk["peak MiB"] < 1024
    assert memory["peak MiB"] - memory["base MiB"] > 2640e6 / 2**20


@linux
@pytest.mark.slow
def test_decoding_stays_flat(write, tmp_path, positions):
    """Five files of 200 MiB decoded need no more than one."""
    import numpy as np

    peaks = []
    for files in (1, 5):
        folder = tmp_path / str(files)
        folder.mkdir()
        write("top.pdb", positions[:1])
        (tmp_path / "top.pdb").rename(folder / "top.pdb")
        x = np.tile(positions, (80_000, 1, 1))
        for k in range(files):
            write(f"{k}.xtc", x)
            (tmp_path / f"{k}.xtc").rename(folder / f"{k}.xtc")
        del x
        figures = measured(DECODE, folder)
        assert figures["MiB"] > 180 * files
        peaks.append(figures["peak MiB"] - figures["base MiB"])
    # what grows is the time axis: 8 bytes a frame for times and order, 4 for the trajectory, against 96 for positions
    assert peaks[1] - peaks[0] < 0.35 * 4 * figures["MiB"] / 5
