"""How fast a device is: training steps beside the peers', and energies and forces beside its own arithmetic."""

import os
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from openmm import app

from bayescg.devices import device_of
from bayescg.recording.lowering import can_compile
from bayescg.recording.stepping import prepare
from bayescg.systems import peptide
from bayescg.systems.forcefield import ForceField
from tests.benchmarks.race import race, summary
from tests.benchmarks.test_forcefield import SYSTEMS
from tests.gpu.lines import Line

__all__ = ["force_rates", "planned_forces", "planned_steps", "step_times"]

STEPS = "Training steps: milliseconds each"
FORCES = "Energies and forces of alanine dipeptide: frames a second"
_SIZES = {"cuda": (("A", 1024), ("A", 65_536), ("B", 1024), ("C", 512)), "cpu": (("C", 16),)}
_PEERS = ("PyTorch", "NumPyro", "bayescg trace", "bayescg inductor")
_BATCHES = {"cuda": (2048, 65_536), "cpu": (64,)}
_FIELDS = ("ff96 vacuum", "ff96 + OBC1")
_RATES = ("plain", "recorded", "compiled", "best, of the arithmetic", "memory, GiB")
_BLOCK = 0.3
"""Seconds."""


def planned_steps(device: str) -> list[Line]:
    """All lines of the steps, none of them tried."""
    return [Line(STEPS, f"{problem}, batch {batch}", peer) for problem, batch in _SIZES[device] for peer in _PEERS]


def planned_forces(device: str) -> list[Line]:
    """All lines of the forces, none of them tried."""
    return [Line(FORCES, f"{f}, batch {batch}", rate) for f in _FIELDS for batch in _BATCHES[device] for rate in _RATES]


def step_times(device: str, until: float) -> list[Line]:
    """Milliseconds of each peer's step, those apart that are not begun by the time `until`."""
    os.environ["XLA_PYTHON_CLIENT_PREALLOCATE"] = "false"  # JAX would take three quarters of the card
    lines = planned_steps(device)
    for size in _SIZES[device]:
        row, began = f"{size[0]}, batch {size[1]}", time.time()
        cells = {line.column: line for line in lines if line.row == row}
        if began > until:
            for line in cells.values():
                line.words = "no time was left"
            continue
        results = race(list(cells), *size, threads=1, device=device, rounds=5, block=0.1)
        for result in results:
            line = cells[result.column]
            line.words, line.seconds = result.missing, (time.time() - began) / len(cells)
            if result.seconds:
                median, spread, ratio = summary(result, results[0])
                line.status, line.value = "passed", 1e3 * median
                line.words = f"half the interquartile range {spread:.0%}, {ratio:.2f} of {results[0].column}'s"
    return lines


def force_rates(device: str) -> list[Line]:
    """Frames a second, as torch operations, recorded and compiled; what share of the arithmetic that is; the memory."""
    lines = {(line.row, line.column): line for line in planned_forces(device)}
    where = device_of(device)
    peak = _operations_a_second(where)
    for field in _FIELDS:
        for batch in _BATCHES[device]:
            began, row = time.time(), f"{field}, batch {batch}"
            cells = {c: lines[row, c] for c in _RATES}
            _measure(field, batch, where, peak, cells)
            for line in cells.values():
                line.seconds = (time.time() - began) / len(cells)
    return list(lines.values())


def _measure(name: str, batch: int, device: torch.device, peak: float, cells: dict[str, Line]) -> None:
    files, operations = SYSTEMS[name]
    topology, positions = peptide("ACE-ALA-NME")
    field = ForceField(app.ForceField(*files).createSystem(topology))
    x = torch.tensor(np.array(positions._value), dtype=torch.float32) + 0.005 * torch.randn(batch, 22, 3)
    x = x.to(device)
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats()

    def both(x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        with torch.enable_grad():
            frames = x.detach().requires_grad_()
            energy = field.plain(x)(frames)
            (gradient,) = torch.autograd.grad(energy.sum(), frames)
        return energy.detach(), -gradient

    for column, mode in (("plain", "off"), ("recorded", "trace"), ("compiled", "inductor")):
        line = cells[column]
        if mode == "inductor" and (why := can_compile(device)):
            line.words = why
            continue
        try:
            step = prepare(both, [x], calls=1_000_000, mode=mode)
            line.status, line.value = "passed", batch / _seconds(lambda step=step: step(x), device)
        except Exception as error:  # whatever a card may raise is what the line is there to tell
            line.status, line.words = "failed", f"{type(error).__name__}: {str(error).strip().splitlines()[0][:300]}"
    share, memory = cells["best, of the arithmetic"], cells["memory, GiB"]
    best = max((cells[c].value or 0.0) for c in ("plain", "recorded", "compiled"))
    share.status, share.value = "passed", best * operations / peak
    share.words = f"{operations:,} operations a frame, give or take half, at {peak:.3g} a second of a matrix product"
    memory.words = "only a card counts its memory"
    if device.type == "cuda":
        memory.status, memory.value, memory.words = "passed", torch.cuda.max_memory_allocated() / 2**30, "the largest"


def _operations_a_second(device: torch.device) -> float:
    """Of single precision, in a large product of matrices."""
    size = 8192 if device.type == "cuda" else 1024
    a = torch.randn(size, size, device=device)
    return 2 * size**3 / _seconds(lambda: a @ a, device)


def _seconds(call: Callable[[], Any], device: torch.device) -> float:
    """Of one call, when it is warm."""
    count, seconds = 1, 0.0
    for _ in range(2):
        call()
    while seconds < _BLOCK:
        count *= 2
        began = time.perf_counter()
        for _ in range(count):
            call()
        if device.type == "cuda":
            torch.cuda.synchronize()
        seconds = time.perf_counter() - began
    return seconds / count
