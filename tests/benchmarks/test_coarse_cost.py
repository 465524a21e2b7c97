"""What potentials of beads cost: their dynamics beside that of all atoms, with the number of beads, and their training.

Run with ``pytest -n 0 tests/benchmarks/test_coarse_cost.py --benchmark-only -s``: about ten minutes of one thread.
Seconds are those of the processor, on which others may take turns; the best of several rounds that take turns.
"""

import re
import time
import warnings
from collections.abc import Callable
from functools import cache, partial
from itertools import pairwise
from typing import Any

import mdtraj
import numpy as np
import openmm
import pytest
import torch

import bayescg as bcg
from bayescg.data import Frames, evenly
from bayescg.inference.fitted_system import FittedSystem
from bayescg.modelling import BeadModel
from bayescg.models import ForceMatchingPotential
from bayescg.recording.stepping import prepare
from bayescg.sampling.chains.dynamics import baoab

BEADS = ["C ACE", "N ALA", "CA ALA", "C ALA", "N NME"]
REPLICAS, ROUNDS = 1000, 3
CHAINS = (5, 10, 20, 40, 80, 160, 320, 1000)
PAIRS = 2_000_000  # of beads, in all replicas of a batch, at most
CHOICES = ("none", "mean-field", "laplace", "bootstrap")
SHORT, FEW, MANY = 300, 10, 200


@pytest.fixture(autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def in_turns(runs: dict[str, tuple[Callable[[], object], int]]) -> dict[str, float]:
    """Seconds of each call of several functions, of each that is called so often in a round; they take turns."""
    for run, _ in runs.values():
        run()
    rounds = []
    for _ in range(ROUNDS):
        rounds.append({})
        for name, (run, count) in runs.items():
            began = time.process_time()
            for _ in range(count):
                run()
            rounds[-1][name] = (time.process_time() - began) / count
    return {name: min(each[name] for each in rounds) for name in runs}


@cache
def molecule() -> Any:
    return bcg.systems.alanine_dipeptide("amber96", solvent="obc2", temperature=330.0, hydrogen_mass=3.0)


@cache
def mapped() -> Frames:
    """Beads and forces of a short simulation of all atoms: enough to count seconds."""
    system = molecule()
    frames = bcg.sampling.langevin(
        system, 2000, dt=0.002, chains=200, stride=100, equilibration=1000, forces=True, progress=False
    )
    return bcg.sampling.mapped_forces(frames, system, bcg.features.beads(system, BEADS), "optimal")


def fitted(uncertainty: str, steps: int) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a short fit of short trajectories
        model = ForceMatchingPotential(prior="bonded")
        return bcg.fit(
            model, mapped(), uncertainty=uncertainty, steps=steps, batch_size=512, validation=0.0, compile="trace",
            progress=False,
        )  # fmt: skip


def langevin_step(system: Any, x: torch.Tensor, compile: str) -> Callable[[], object]:
    """A step with its noise, as `bcg.sampling.langevin` runs it."""
    mass = torch.ones(x.shape[1])
    step = baoab(system, mass, (system.kT / mass).sqrt(), 0.001, 5.0)
    arguments = [x, torch.randn_like(x), system.forces(x)]
    run = prepare(step, [*arguments, torch.randn_like(x)], 20_000, compile)
    return lambda: run(*arguments, torch.randn(x.shape))


def dynamics() -> dict[str, float]:
    """Seconds of a step of all replicas."""
    frames, fit = mapped(), fitted("laplace", SHORT)
    x = torch.as_tensor(frames.gather(evenly(frames, REPLICAS))).flatten(1)
    atoms: dict[str, Any] = {"dt": 0.002, "chains": REPLICAS, "stride": 100, "progress": False}
    runs: dict[str, tuple[Callable[[], object], int]] = {
        "beads, compiled": (langevin_step(fit.system(), x, "auto"), 300),
        "beads, recorded": (langevin_step(fit.system(), x, "trace"), 100),
        "beads, 20 draws of a Laplace posterior, compiled": (langevin_step(fit.system(draws=20), x, "auto"), 300),
        "all atoms, batched": (lambda: bcg.sampling.langevin(molecule(), 100, **atoms), 3),
    }
    for platform, properties in (("Reference", {}), ("CPU", {"Threads": "1"})):
        integrator = openmm.LangevinMiddleIntegrator(330.0, 1.0, 0.002)
        where = openmm.Platform.getPlatformByName(platform)
        context = openmm.Context(molecule().openmm_system, integrator, where, properties)
        context.setPositions(molecule().start)
        runs[f"all atoms, OpenMM {platform}"] = partial(_steps, context, integrator), 3
    each = in_turns(runs)
    scale = {"all atoms, batched": 0.01, **dict.fromkeys((n for n in runs if "OpenMM" in n), REPLICAS / 100)}
    return {name: value * scale.get(name, 1.0) for name, value in each.items()}


def _steps(context: Any, integrator: Any) -> None:
    integrator.step(100)
    context.getState()  # an integrator does not keep its context


def of_chain(beads: int) -> tuple[Any, torch.Tensor]:
    """The potential of a chain of so many beads, without training, and configurations of it."""
    topology = mdtraj.Topology()
    residue = topology.add_residue("CG", topology.add_chain())
    atoms = [topology.add_atom("CA", mdtraj.element.carbon, residue) for _ in range(beads)]
    for a, b in pairwise(atoms):
        topology.add_bond(a, b)
    rng = np.random.default_rng(0)
    walk = np.cumsum(rng.normal(scale=0.08, size=(20, beads, 3)), 1).astype(np.float32)
    frames = Frames.from_numpy(walk, unit="nm", temperature=300.0, topology=topology, forces=np.zeros_like(walk))
    model = ForceMatchingPotential()
    BeadModel.setup(model, frames)
    point = {k: v.detach() for k, v in (*model.named_parameters(), *model.named_buffers())}
    replicas = max(1, min(REPLICAS, PAIRS // (beads * (beads - 1) // 2)))
    x = torch.as_tensor(walk[np.arange(replicas) % 20]).flatten(1)
    return FittedSystem(model, point, {}, False), x


def with_size() -> dict[int, tuple[int, float, float]]:
    """Weights of the potential, and seconds of energy and forces of a configuration, recorded and compiled."""
    rows = {}
    for beads in CHAINS:
        system, x = of_chain(beads)
        runs = {
            mode: (prepare(lambda y, s=system: (s.forces(y),), [x], 20_000, mode), max(1, 20 // max(1, beads // 20)))
            for mode in ("trace", "auto")
        }
        each = in_turns({mode: (partial(run, x), count) for mode, (run, count) in runs.items()})
        weights = sum(p.numel() for p in system.model.correction.parameters())
        rows[beads] = weights, each["trace"] / len(x), each["auto"] / len(x)
    return rows


def training() -> dict[str, tuple[float, float]]:
    """Seconds of what comes before and after the steps, and of each step, by kind of uncertainty."""
    rows = {}
    for choice in CHOICES:
        fitted(choice, FEW)  # what is made once a process: frames, recordings, libraries
        spent = []
        for steps in (FEW, FEW + MANY):
            began = time.process_time()
            fitted(choice, steps)
            spent.append(time.process_time() - began)
        step = (spent[1] - spent[0]) / MANY
        rows[choice] = spent[0] - FEW * step, step
    return rows


def table(head: str, rows: list[list[object]]) -> str:
    lines = [head, re.sub(r"[^|]+", " --- ", head)]
    lines += ["| " + " | ".join(f"{v:.3g}" if isinstance(v, float) else str(v) for v in row) + " |" for row in rows]
    return "\n".join(lines)


def test_dynamics(benchmark, capsys):
    spent = benchmark.pedantic(dynamics, rounds=1, iterations=1)
    atoms, rival = spent["all atoms, batched"], min(v for k, v in spent.items() if "OpenMM" in k)
    rows: list[list[object]] = [
        [name, 1e3 * value, f"{REPLICAS / value:,.0f}", atoms / value, rival / value] for name, value in spent.items()
    ]
    head = "| dynamics | a step of 1000 replicas, ms | steps a second | to all atoms, batched | to OpenMM |"
    with capsys.disabled():
        print("\n" + table(head, rows))


def test_size(benchmark, capsys):
    spent = benchmark.pedantic(with_size, rounds=1, iterations=1)
    rows: list[list[object]] = [[n, f"{w:,}", 1e6 * a, 1e6 * b] for n, (w, a, b) in spent.items()]
    large = [n for n in spent if n >= 40]
    slopes = [np.polyfit(np.log(large), np.log([spent[n][k] for n in large]), 1)[0] for k in (1, 2)]
    with capsys.disabled():
        print("\n" + table("| beads | weights | energy and forces recorded, us | compiled, us |", rows))
        print(f"from 40 beads on the cost grows with the power {slopes[0]:.2f} recorded, {slopes[1]:.2f} compiled")


def test_training(benchmark, capsys):
    spent = benchmark.pedantic(training, rounds=1, iterations=1)
    of_none = spent["none"]

    def ratio(once: float, step: float) -> float:
        return (once + 3000 * step) / (of_none[0] + 3000 * of_none[1])

    rows: list[list[object]] = [[name, once, 1e3 * step, ratio(once, step)] for name, (once, step) in spent.items()]
    with capsys.disabled():
        print("\n" + table("| uncertainty | before and after, s | a step, ms | fit of 3000 steps to none |", rows))
