"""Samplers and the force field on a device, beside the processor's on the same random numbers."""

import time
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import torch

import bayescg as bcg
from bayescg.devices import device_of
from bayescg.recording.stepping import prepare
from bayescg.systems import System
from tests.gpu.lines import Line
from tests.gpu.same_draws import same_draws

__all__ = ["SAMPLERS", "SECTION", "physics", "planned"]

SECTION = "Samplers and force field: largest difference from the processor's, to the size of what is compared"
_LIMIT = 1e-4
"""Rounding of single precision, which trajectories this short do not amplify much."""
_SOLVENTS = {"vacuum": None, "OBC1": "obc1"}


def _well() -> System:
    return bcg.systems.DoubleWell()


def _starts() -> np.ndarray:
    return np.random.default_rng(0).normal(size=(8, 2)).astype(np.float32)


def _first(x: torch.Tensor) -> torch.Tensor:
    return x[..., 0]


_SIDES = {"A": lambda x: x[:, 0] < -1.0, "B": lambda x: x[:, 0] > 1.0}
SAMPLERS: dict[str, Callable[..., Any]] = {
    "overdamped": lambda **how: bcg.sampling.overdamped(_well(), 20, dt=0.01, chains=8, **how),
    "langevin": lambda **how: bcg.sampling.langevin(_well(), 20, dt=0.01, chains=8, **how),
    "hmc": lambda **how: bcg.sampling.hmc(_well(), 10, dt=0.1, chains=8, **how),
    "parallel_tempering": lambda **how: bcg.sampling.parallel_tempering(
        _well(), 10, temperatures=[1.0, 2.0], dt=0.1, chains=4, **how
    ),
    "smc": lambda **how: bcg.sampling.smc(_well(), particles=20, islands=5, **how).frames,
    "annealed_importance": lambda **how: bcg.sampling.annealed_importance(_well(), chains=100, **how).frames,
    "umbrella": lambda **how: bcg.sampling.umbrella(
        _well(), _first, 20, dt=0.01, starts=_starts(), windows=4, walkers=2, stride=5, **how
    ),
    "flattened": lambda **how: bcg.sampling.flattened(
        _well(), 16, dt=0.01, cv=_first, steps=200, chains=8, stride=10, **how
    ),
    "commitment": lambda **how: bcg.sampling.commitment(_well(), _starts(), _SIDES, shots=3, dt=0.01, steps=500, **how),
    "newtonian": lambda **how: bcg.sampling.newtonian(
        bcg.systems.HenonHeiles(), 20, dt=0.05, starts=(0.1 * _starts(), 0.1 * _starts()[::-1]), **how
    ),
    "langevin, alanine dipeptide": lambda **how: bcg.sampling.langevin(
        bcg.systems.alanine_dipeptide("amber96", solvent="obc1", temperature=330.0), 5, dt=0.001, chains=4, **how
    ),
}


def planned() -> list[Line]:
    """All lines, none of them tried."""
    rows = [*SAMPLERS, *(f"force field, {name}: {what}" for name in _SOLVENTS for what in ("energy", "forces"))]
    return [Line(SECTION, row, column) for row in rows for column in ("plain", "recorded")]


def physics(device: str) -> list[Line]:
    """All lines."""
    lines = {(line.row, line.column): line for line in planned()}
    for (row, column), line in lines.items():
        began = time.time()
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # so few steps deserve them
                compile = "off" if column == "plain" else "trace"
                here, there = (_values(row, where, compile) for where in ("cpu", device))
            line.value, line.limit = float(np.abs(there - here).max() / np.abs(here).max()), _LIMIT
            line.status = "passed" if line.value <= line.limit else "failed"
            line.words = f"{line.value:.1e}, at most {line.limit:.0e}"
        except Exception as error:  # whatever a card may raise is what the line is there to tell
            line.status, line.words = "failed", f"{type(error).__name__}: {str(error).strip().splitlines()[0][:300]}"
        line.seconds = time.time() - began
    return list(lines.values())


def _values(row: str, device: str, compile: str) -> np.ndarray:
    with same_draws():
        if row in SAMPLERS:
            frames = SAMPLERS[row](device=device, compile=compile, progress=False)
            return np.asarray(frames.positions, dtype=np.float64)
        return _force_field(row, device_of(device), compile)


def _force_field(row: str, device: torch.device, compile: str) -> np.ndarray:
    solvent, _, what = row.removeprefix("force field, ").partition(": ")
    system = bcg.systems.alanine_dipeptide("amber96", solvent=_SOLVENTS[solvent], temperature=330.0)
    x = torch.as_tensor(system.start).flatten().float()
    x = x + 0.005 * torch.randn(64, system.dim, generator=torch.Generator().manual_seed(0))
    ask = system.energy if what == "energy" else system.forces
    x = x.to(device)
    return prepare(lambda x: (ask(x),), [x], calls=1, mode=compile)(x)[0].detach().cpu().double().numpy()
