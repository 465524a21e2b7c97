"""Averages over atoms that a backmapping places around beads: one atom beside a bent chain of three beads.

The atom leans as the chain bends, so that its torsion follows the chain's angle and has a width of its own.
"""

from typing import Any

import mdtraj
import numpy as np
import torch
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


def topology() -> mdtraj.Topology:
    """Three beads in a chain, and a fourth atom on the second."""
    top = mdtraj.Topology()
    residue = top.add_residue("MOL", top.add_chain())
    atoms = [top.add_atom(name, mdtraj.element.carbon, residue) for name in ("C1", "C2", "C3")]
    atoms.append(top.add_atom("H", mdtraj.element.hydrogen, residue))
    for a, b in ((0, 1), (1, 2), (1, 3)):
        top.add_bond(atoms[a], atoms[b])
    return top


def molecules(count: int, stream: list[int]) -> np.ndarray:
    """Independent conformations ``(count, 4, 3)``."""
    noise = np.random.default_rng(stream).normal(size=(6, count))
    bend = ANGLE + BENT * noise[0]
    torsion = TORSION + FOLLOWS * noise[0] + WIDTH * noise[1]
    y = [*(LENGTH + 0.003 * noise[2:4]), 0.11 + 0.003 * noise[4], bend, 1.9 + 0.05 * noise[5], torsion]
    return PLACED.positions(torch.as_tensor(np.stack(y, 1))).numpy()


def placed(seed: int, members: int = 16) -> dict[str, Quantity]:
    """A thousand frames of all atoms are learned from; beads come from a simulation of their own."""
    top = topology()
    frames = Frames.from_numpy(molecules(COUNT, [seed, 31]), unit="nm", temperature=300.0, topology=top)
    mapping = bcg.features.beads(top, ["C1", "C2", "C3"])
    fit = bcg.fit(
        Backmapping(mapping, layers=2, bins=4, hidden=(8,)), frames, steps=400, batch_size=COUNT, validation=0.0,
        learning_rate=0.01, uncertainty="bootstrap", members=members, compile="trace", seed=seed, progress=False,
    )  # fmt: skip
    beads = Frames.from_numpy(
        molecules(COARSE, [seed, 32])[:, :3], unit="nm", temperature=300.0, topology=mapping.topology
    )
    atoms = bcg.sampling.backmapped(fit, beads, draws=members - 1, seed=seed)
    torsion = PLACED(torch.as_tensor(atoms.positions))[:, 5].numpy()
    values: dict[str, Any] = {"mean": torsion, "share": (torsion > EDGE) * 1.0, "square": (torsion - TORSION) ** 2}
    return {name: average(v, atoms, 500, seed, "") for name, v in values.items()}


def exact() -> dict[str, float]:
    sd = float(np.hypot(FOLLOWS, WIDTH))
    return {"mean": TORSION, "share": float(norm.sf(EDGE, TORSION, sd)), "square": sd**2}


ROWS = [
    Row(
        "placed-atoms",
        f"averages of a torsion over atoms that `Backmapping` places around {COARSE} independent sets of beads, "
        f"learned from {COUNT} frames, none held out, 15 refits",
        placed,
        exact,
    )
]
