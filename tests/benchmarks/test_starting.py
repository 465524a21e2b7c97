"""Seconds until the command line answers and until the package is there, beside torch's own import."""

import subprocess
import sys

import pytest

STARTS = {
    "bayescg --help": ["-m", "bayescg.cli", "--help"],
    "bayescg list": ["-m", "bayescg.cli", "list"],
    "import bayescg": ["-c", "import bayescg"],
    "import torch": ["-c", "import torch"],
}


@pytest.mark.benchmark(group="start")
@pytest.mark.parametrize("name", STARTS)
def test_start(benchmark, name: str) -> None:
    command = [sys.executable, *STARTS[name]]
    benchmark.pedantic(subprocess.run, (command,), {"check": True, "capture_output": True}, rounds=5, warmup_rounds=1)
