"""Averages over atoms that a backmapping places around beads: one atom beside a bent chain of three beads.

The atom leans as the chain bends, so that its torsion follows the chain's angle and has a width of its own.
"""

from functools import lru_cache, partial
from typing import Any

import mdtraj
import numpy as np
import torch
from scipy.signal import lfilter
from scipy.stats import norm

import bayescg as bcg
from bayescg.analysis import Quantity
from bayescg.analysis.resampled import average
from bayescg.data import Frames
from bayescg.experiments import Row
from bayescg.features import InternalCoordinates
from bayescg.models import Backmapping

LENGTH, ANGLE, BENT = 0.15, 1.9, 0.1
PLACED = InternalCoordinates(list("ABCD"), [[0], [1, 0], [2, 1, 0], [3, 1, 0, 2]])
TORSION, FOLLOWS, WIDTH, EDGE = 2.0, 0.1, 0.05, 2.1
COUNT, COARSE = 1000, 20_000
MEMORY, FEWER = 10.0, 300
"""Correlation time of beads, in frames, and how many frames of all atoms are learned from then."""


def topology() -> mdtraj.Topology:
    """Three beads in a chain, and a fourth atom on the second."""
    top = mdtraj.Topology()
    residue = top.add_residue("MOL", top.add_chain())
    atoms = [top.add_atom(name, mdtraj.element.carbon, residue) for name in ("C1", "C2", "C3")]
    atoms.append(top.add_atom("H", mdtraj.element.hydrogen, residue))
    for a, b in ((0, 1), (1, 2), (1, 3)):
        top.add_bond(atoms[a], atoms[b])
    return top


def molecules(count: int, stream: list[int], memory: float = 0.0) -> np.ndarray:
    """Conformations ``(count, 4, 3)``, whose bend is forgotten in so many frames; independent ones without memory."""
    noise = np.random.default_rng(stream).normal(size=(6, count))
    if memory:
        rest = np.exp(-1 / memory)
        noise[0, 1:] *= (1 - rest**2) ** 0.5
        noise[0] = lfilter([1.0], [1.0, -rest], noise[0])
    bend = ANGLE + BENT * noise[0]
    torsion = TORSION + FOLLOWS * noise[0] + WIDTH * noise[1]
    y = [*(LENGTH + 0.003 * noise[2:4]), 0.11 + 0.003 * noise[4], bend, 1.9 + 0.05 * noise[5], torsion]
    return PLACED.positions(torch.as_tensor(np.stack(y, 1))).numpy()


@lru_cache(1)
def learned(seed: int, count: int, members: int) -> Any:
    """A backmapping of independent frames of all atoms."""
    top = topology()
    frames = Frames.from_numpy(molecules(count, [seed, 31]), unit="nm", temperature=300.0, topology=top)
    mapping = bcg.features.beads(top, ["C1", "C2", "C3"])
    return bcg.fit(
        Backmapping(mapping, layers=2, bins=4, hidden=(8,)), frames, steps=400, batch_size=count, validation=0.0,
        learning_rate=0.01, uncertainty="bootstrap", members=members, compile="trace", seed=seed, progress=False,
    )  # fmt: skip


def placed(
    seed: int, members: int = 16, count: int = COUNT, memory: float = 0.0, spread: bool = True
) -> dict[str, Quantity]:
    """Averages over atoms around beads of a simulation of their own, with the spread of the refits or without."""
    fit = learned(seed, count, members)
    beads = Frames.from_numpy(
        molecules(COARSE, [seed, 32], memory)[:, :3], unit="nm", temperature=300.0, dt=1.0 if memory else None,
        topology=fit.model.mapping.topology,
    )  # fmt: skip
    atoms = bcg.sampling.backmapped(fit, beads, draws=members - 1 if spread else None, seed=seed)
    torsion = PLACED(torch.as_tensor(atoms.positions))[:, 5].numpy()
    values: dict[str, Any] = {"mean": torsion, "share": (torsion > EDGE) * 1.0, "square": (torsion - TORSION) ** 2}
    return {name: average(v, atoms, 500, seed, "") for name, v in values.items()}


def exact() -> dict[str, float]:
    sd = float(np.hypot(FOLLOWS, WIDTH))
    return {"mean": TORSION, "share": float(norm.sf(EDGE, TORSION, sd)), "square": sd**2}


in_time = partial(placed, members=13, count=FEWER, memory=MEMORY)

ROWS = [
    Row(
        "placed-atoms",
        f"averages of a torsion over atoms that `Backmapping` places around {COARSE} independent sets of beads, "
        f"learned from {COUNT} frames, none held out, 15 refits",
        placed,
        exact,
    ),
    Row(
        "placed-in-time",
        f"the same around {COARSE} sets of beads of a simulation that remembers for {MEMORY:.0f} of them, learned from "
        f"{FEWER} frames, 12 refits; control: without the refits",
        in_time,
        exact,
        partial(in_time, spread=False),
    ),
]
