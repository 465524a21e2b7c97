"""A run that is killed at any moment ends, gone on with, with the numbers of one that was not."""

import contextlib
import json
import os
import random
import signal
import time
import traceback
import warnings
from pathlib import Path

import pytest

from bayescg import experiments

KILLS = 100
SETTINGS = ["fit.steps=100", "analysis.samples=4000", "analysis.draws=10"]


def forked(path: Path) -> int:
    """A process of its own that runs the experiment, or goes on with it, where torch is imported already."""
    child = os.fork()
    if child:
        return child
    status = 1
    with open(path.with_suffix(".log"), "a") as log, contextlib.redirect_stdout(log), contextlib.redirect_stderr(log):
        try:
            warnings.simplefilter("ignore")
            if (path / "config.toml").exists():
                experiments.resume(path)
            else:
                experiments.run(experiments.load("double-well", quick=True, changes=SETTINGS), path)
            status = 0
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
    began = time.monotonic()
    expected = finished(tmp_path / "whole")
    moments = random.Random(0)
    span, interrupted = time.monotonic() - began, 0
    for k in range(KILLS):
        path = tmp_path / f"killed-{k}"
        child = forked(path)
        time.sleep(moments.uniform(0.0, span))
        interrupted += os.waitpid(child, os.WNOHANG) == (0, 0)
        with contextlib.suppress(ProcessLookupError):
            os.kill(child, signal.SIGKILL)
        with contextlib.suppress(ChildProcessError):
            os.waitpid(child, 0)
        for file in path.rglob("*.json"):
            json.loads(file.read_text())
        assert finished(path) == expected, k
        assert not [p for p in path.rglob("*.partial*") if p.is_file()], k
    assert interrupted > KILLS / 2
