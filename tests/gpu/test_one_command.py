"""The command for a GPU, where there is none: skipped in words, small on the processor, and on an emulated device."""

import importlib
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from tests.gpu.lines import Line, tables

ROOT = Path(__file__).parents[2]


def command(monkeypatch, path: Path, *options: str) -> tuple[int, list[dict]]:
    """Its exit status and its lines."""
    monkeypatch.setattr(sys, "argv", ["tests.gpu", *options, "--json", str(path)])
    status = importlib.import_module("tests.gpu.__main__").main()
    return status, json.loads(path.read_text())["lines"]


def test_without_a_card_every_line_is_skipped_in_words(monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    status, lines = command(monkeypatch, tmp_path / "gpu.json")
    assert status == 0
    assert {line["status"] for line in lines} == {"skipped"}
    assert len(lines) > 250
    said = capsys.readouterr().out
    assert "torch sees no CUDA device here, so every line is skipped" in said
    assert said.count("| skipped |") > 50


def test_the_same_runs_small_on_the_processor(monkeypatch, tmp_path):
    options = ["--device", "cpu", "--models", "TimeLaggedAutoencoder", "--modes", "trace", "--workers", "0"]
    status, lines = command(monkeypatch, tmp_path / "gpu.json", *options, "--sections", "fits")
    assert [line for line in lines if line["status"] not in ("passed", "refused")] == []
    assert status == 0
    assert {line["column"] for line in lines if line["status"] == "passed"} == {"none", "ensemble", "bootstrap"}


def test_a_failure_is_a_status_a_cell_and_a_reason():
    lines = [Line("Fits", "A", "none", "passed", 1e-7, 1e-5), Line("Fits", "A", "laplace", "failed", words="no kernel")]
    assert "| A | 1e-07 | **FAILED** |" in tables(lines)
    assert "- failed: no kernel (1: A, laplace)" in tables(lines)


EMULATED = """
import json, torch
from tests.gpu import emulated
emulated.register()  # for good, before the first backward pass
from tests.gpu.fits import fits_of

def refused(call):
    try:
        call()
    except RuntimeError as error:
        return str(error)

with emulated.emulated_device():
    there = torch.arange(3.0, device="emulated").requires_grad_()
    out = {
        "beside": refused(lambda: there + torch.ones(3)),
        "scalar": refused(lambda: there * torch.tensor(2.0)),
        "numpy": refused(lambda: there.detach().numpy()),
        "gradient": torch.autograd.grad((there * there).sum(), there)[0].tolist(),
        "lines": [(l.row, l.column, l.status, l.value) for l in fits_of("DirectMap", "cuda", ("trace",), 1e12)],
    }
print(json.dumps(out))
"""


def test_on_an_emulated_device_a_stray_tensor_is_refused_and_fits_are_the_processors():
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-c", EMULATED], capture_output=True, text=True, cwd=ROOT, env=environment, timeout=600
    )
    assert done.returncode == 0, done.stderr[-2000:]
    out = json.loads(done.stdout.splitlines()[-1])
    assert "aten.add.Tensor on a device is handed a tensor of the processor, of shape [3]" in out["beside"]
    assert out["scalar"] is None
    assert out["numpy"]
    assert out["gradient"] == [0.0, 2.0, 4.0]
    assert {status for *_, status, _ in out["lines"]} == {"passed", "refused"}
    assert {column for _, column, status, _ in out["lines"] if status == "passed"} == {
        "none", "laplace", "ensemble", "bootstrap",
    }  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("how", [("--fake",), ("--device", "cpu")], ids=["emulated", "processor"])
def test_all_of_it(how, tmp_path):
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    path = tmp_path / "gpu.json"
    command = [sys.executable, "-m", "tests.gpu", *how, "--minutes", "240", "--workers", "1", "--json", path]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, env=environment)
    assert done.returncode == 0, done.stdout
    assert {line["status"] for line in json.loads(path.read_text())["lines"]} <= {"passed", "refused", "skipped"}
