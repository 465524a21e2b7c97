"""A run that is killed or stopped at any moment ends, gone on with, with the numbers of one that was not."""

import contextlib
import json
import os
import random
import shutil
import signal
import time
import tomllib
import traceback
import warnings
from collections import Counter
from pathlib import Path

import pytest
import safetensors.torch
import xarray as xr
from matplotlib import image

from bayescg import experiments
from bayescg.errors import Interrupted

KILLS, SEED = 100, 0
SIGNALS = (signal.SIGKILL, signal.SIGKILL, signal.SIGTERM, signal.SIGINT)
READERS = {
    ".json": lambda path: json.loads(path.read_text()),
    ".toml": lambda path: tomllib.loads(path.read_text()),
    ".safetensors": safetensors.torch.load_file,
    ".png": image.imread,
    ".nc": lambda path: xr.open_datatree(path, engine="h5netcdf").close(),
    ".csv": lambda path: path.read_text().endswith("\n") or pytest.fail(f"{path} is cut short"),
    ".html": lambda path: path.read_text().rstrip().endswith("</html>") or pytest.fail(f"{path} is cut short"),
}
STOPPED = 3
SETTINGS = ["fit.steps=100", "analysis.samples=4000", "analysis.draws=10"]


def work(path: Path) -> None:
    """Run the experiment, or go on with it."""
    if (path / "config.toml").exists():
        experiments.resume(path)
    else:
        experiments.run(experiments.load("double-well", quick=True, changes=SETTINGS), path)


def forked(path: Path) -> int:
    """A process of its own that works, where all is imported already."""
    child = os.fork()
    if child:
        return child
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    status = 1
    with open(path.with_suffix(".log"), "a") as log, contextlib.redirect_stdout(log), contextlib.redirect_stderr(log):
        try:
            warnings.simplefilter("ignore")
            work(path)
            status = 0
        except Interrupted as error:
            print(error, error.number)
            status = STOPPED
        except BaseException:
            traceback.print_exc()
    os._exit(status)


def finished(path: Path) -> dict:
    """The quantities of a run that comes to its end."""
    _, status = os.waitpid(forked(path), 0)
    assert status == 0, path.with_suffix(".log").read_text()
    return json.loads((path / "summary.json").read_text())["quantities"]


@pytest.mark.slow
def test_runs_killed_at_random_end_with_the_same_numbers(tmp_path):
    work(tmp_path / "first")
    began = time.monotonic()
    expected = finished(tmp_path / "whole")
    moments = random.Random(SEED)
    span, ends = time.monotonic() - began, Counter()
    for k in range(KILLS):
        path, number = tmp_path / f"killed-{k}", moments.choice(SIGNALS)
        child = forked(path)
        time.sleep(moments.uniform(0.0, span))
        os.kill(child, number)  # one that has ended waits to be asked for its status
        status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        log = path.with_suffix(".log").read_text()
        assert status in (0, STOPPED, -number), log
        if status == STOPPED:
            assert number != signal.SIGKILL
            assert f"stopped by {number.name}" in log
            assert f" {int(number)}\n" in log
        ends[number.name, status] += 1
        for file in path.rglob("[!.]*"):
            if file.is_file():
                READERS[file.suffix](file)
        assert finished(path) == expected, k
        assert not [p for p in path.rglob("*.partial*") if p.is_file()], k
        shutil.rmtree(path)
    print(dict(ends))
    assert sum(count for (_, status), count in ends.items() if status) > KILLS / 2
