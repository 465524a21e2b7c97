"""Energies and forces a second of alanine dipeptide, beside OpenMM and an arithmetic floor, all in turns.

Run with ``pytest -n 0 tests/benchmarks/test_forcefield.py --benchmark-only``.
OpenMM runs one thread, once through its Python interface (positions in, energy and forces out, frame by frame) and once
as molecular dynamics inside the engine. The floor is a count of the operations that energy and forces need (31 000 in
vacuum and 120 000 with a generalised-Born solvent, give or take half) at the rate of a loop that does nothing else.
"""

import ctypes
import os
import subprocess
import time
from collections.abc import Callable
from functools import partial

import numpy as np
import openmm
import pytest
import torch
from openmm import app

import bayescg as bcg
from bayescg.kernels.library import FLAGS, INSTRUCTIONS
from bayescg.systems import MolecularSystem, from_openmm, peptide
from bayescg.systems.forcefield import ForceField

SYSTEMS = {
    "ff96 vacuum": (["amber96.xml"], 31_000),
    "ff96 + OBC1": (["amber96.xml", "implicit/obc1.xml"], 120_000),
    "ff96 + OBC2": (["amber96.xml", "amber96_obc.xml"], 120_000),
    "ff14SB + OBC2": (["amber14/protein.ff14SB.xml", "implicit/obc2.xml"], 120_000),
    "ff14SB + GBn2": (["amber14/protein.ff14SB.xml", "implicit/gbn2.xml"], 120_000),
}
ROUNDS, BLOCK = 9, 0.2

_CHAINS = """
extern "C" void chains(float *x, long n, long times) {  // eight independent chains of multiplications and additions
  for (long i = 0; i < n; i += 128) {
    float y[128];
    for (int b = 0; b < 128; ++b) y[b] = x[i + b];
    for (long k = 0; k < times; ++k)
      for (int b = 0; b < 128; ++b) y[b] = y[b] * 0.999f + 0.001f;
    for (int b = 0; b < 128; ++b) x[i + b] = y[b];
  }
}
"""


@pytest.fixture(scope="module")
def arithmetic(tmp_path_factory) -> Callable[[int], float]:
    """Function that does so many million operations, in registers and with vectors."""
    source = tmp_path_factory.mktemp("chains") / "chains.cpp"
    source.write_text(_CHAINS)
    flags = [*FLAGS, "-ffp-contract=off", *INSTRUCTIONS.get(torch.backends.cpu.get_cpu_capability(), ())]
    compiler = os.environ.get("CXX", "c++")
    try:
        subprocess.run([compiler, *flags, "-o", source.with_suffix(".so"), source], check=True, capture_output=True)
    except OSError:
        pytest.skip(f"no C++ compiler {compiler!r}")
    kernel = ctypes.CDLL(str(source.with_suffix(".so"))).chains
    x = torch.ones(4096)
    return lambda millions: kernel(
        ctypes.c_void_p(x.data_ptr()), ctypes.c_long(4096), ctypes.c_long(int(millions * 1e6 / 8192))
    )


def columns(name: str, arithmetic: Callable[[int], float]) -> dict[str, tuple[Callable[[int], object], int]]:
    """Functions that evaluate so many batches, and the frames of a batch."""
    topology, positions = peptide("ACE-ALA-NME")
    system = app.ForceField(*SYSTEMS[name][0]).createSystem(topology)
    field = ForceField(system)
    start = torch.tensor(np.array(positions._value), dtype=torch.float32)
    result: dict[str, tuple[Callable[[int], object], int]] = {"arithmetic": (arithmetic, 1)}

    def batched(size: int, threads: int, plain: bool = False) -> None:
        x = start + 0.005 * torch.randn(size, 22, 3, generator=torch.Generator().manual_seed(0))

        def run(count: int) -> None:
            torch.set_num_threads(threads)
            for _ in range(count):
                if plain:
                    frames = x.clone().requires_grad_()
                    torch.autograd.grad(field.plain(x)(frames).sum(), frames)
                else:
                    field.forces(x)

        kind = "torch operations" if plain else "bayescg"
        result[f"{kind}, batch {size}, {threads} threads"] = run, size

    for size, threads in ((1, 1), (256, 1), (2048, 1), (16_384, 1), (2048, 2), (16_384, 2)):
        batched(size, threads)
    batched(2048, 1, plain=True)
    moving(result, from_openmm(system, topology, 300.0, positions))
    for platform, properties in (("Reference", {}), ("CPU", {"Threads": "1"})):
        by_interface(result, system, start.double().numpy(), platform, properties)
    return result


def moving(result: dict, system: MolecularSystem) -> None:
    """Steps of Langevin dynamics, many in one call and recorded."""
    x = torch.tensor(system.start, dtype=torch.float32).flatten().expand(448, -1).contiguous()

    def steps(compile: str, count: int) -> None:
        torch.set_num_threads(1)
        bcg.sampling.langevin(system, 100 * count, dt=0.0005, starts=x, stride=100 * count, compile=compile)

    for compile, kind in (("auto", "dynamics"), ("trace", "recorded dynamics")):
        result[f"bayescg, {kind}, batch 448, 1 threads"] = partial(steps, compile), 448 * 100


def by_interface(result: dict, system: openmm.System, start: np.ndarray, platform: str, properties: dict) -> None:
    found = openmm.Platform.getPlatformByName(platform)
    one = openmm.Context(system, openmm.VerletIntegrator(0.0005), found, properties)
    many = openmm.Context(system, openmm.LangevinMiddleIntegrator(300.0, 1.0, 0.0005), found, properties)
    many.setPositions(start)

    def interface(count: int) -> None:
        for _ in range(count):
            one.setPositions(start)
            state = one.getState(energy=True, forces=True)
            state.getPotentialEnergy()
            state.getForces(asNumpy=True)

    result[f"OpenMM {platform}, interface"] = interface, 1

    def dynamics(count: int) -> None:
        many.getIntegrator().step(count)  # an integrator does not keep its context

    result[f"OpenMM {platform}, dynamics"] = dynamics, 1


def race(entries: dict[str, tuple[Callable[[int], object], int]]) -> dict[str, np.ndarray]:
    """Frames a second of each column in each of several rounds, the columns taking turns."""
    counts, rates = {}, {}
    for name, (run, _) in entries.items():
        run(1)
        counts[name] = 1
        while (seconds := timed(run, counts[name])) < BLOCK / 4:
            counts[name] *= 2
        counts[name] = max(1, round(counts[name] * BLOCK / seconds))
        rates[name] = []
    for _ in range(ROUNDS):
        for name, (run, frames) in entries.items():
            rates[name].append(counts[name] * frames / timed(run, counts[name]))
    return {name: np.array(values) for name, values in rates.items()}


def timed(run: Callable[[int], object], count: int) -> float:
    started = time.perf_counter()
    run(count)
    return time.perf_counter() - started


@pytest.mark.parametrize("name", SYSTEMS)
def test_forcefield(benchmark, capsys, arithmetic, name):
    before = torch.get_num_threads()
    try:
        entries = columns(name, arithmetic)
        rates = benchmark.pedantic(race, args=(entries,), rounds=1, iterations=1)
    finally:
        torch.set_num_threads(before)
    floor = rates.pop("arithmetic") * 1e6 / SYSTEMS[name][1]  # each round's own
    rival = np.max([values for column, values in rates.items() if "OpenMM" in column], axis=0)
    lines = [
        f"{name}: floor {np.median(floor):,.0f} frames a second and core; median over {ROUNDS} rounds, and the best",
        "| column | frames/s | best | of the floor | to the best of OpenMM |",
        "|---|---|---|---|---|",
    ]
    for column, values in rates.items():
        share = f"{np.median(values / floor):.0%}" if "bayescg" in column and "1 threads" in column else ""
        ratio = f"{np.median(values / rival):.2f}"
        lines.append(f"| {column} | {np.median(values):,.0f} | {values.max():,.0f} | {share} | {ratio} |")
    benchmark.extra_info["frames_per_second"] = {column: values.tolist() for column, values in rates.items()}
    with capsys.disabled():
        print("\n" + "\n".join(lines))
