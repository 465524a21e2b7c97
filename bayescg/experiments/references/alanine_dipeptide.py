"""Alanine dipeptide, AMBER96 with OBC1, 300 K: ``python -m bayescg.experiments.references.alanine_dipeptide DIR``.

Ten million frames take about 20 minutes of one core, and go on where they were interrupted. Parallel tempering
forgets the basins of phi and psi within some 10 ps, and has no error of the time step. It is run twice, from the
basins of negative and from those of positive phi: that both agree on the populations shows that neither remembers
where it began. The carbon stays L. Peptide bonds are trans: 600 K turns one too rarely for the share of cis bonds
(``made["cis"]``) to be more than what happened to come up.
"""

import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch

from bayescg.data import Frames
from bayescg.experiments.references.reference import Reference, inside
from bayescg.features.observables import Torsion, from_names
from bayescg.sampling import parallel_tempering, ramachandran_starts
from bayescg.systems import alanine_dipeptide
from bayescg.systems.peptides import set_ramachandran

__all__ = ["REGIONS", "make", "sample", "summarise"]

REGIONS = {
    "alpha": {"psi": [-120.0, 60.0]},
    "beta": {"psi": [60.0, -120.0]},
    "phi_positive": {"phi": [0.0, 120.0]},
    "phi_negative": {"phi": [120.0, 0.0]},
    "phi_negative, alpha": {"phi": [120.0, 0.0], "psi": [-120.0, 60.0]},
    "phi_negative, beta": {"phi": [120.0, 0.0], "psi": [60.0, -120.0]},
}
"""Degrees; names and boundaries are those of the experiment alanine-dipeptide, and the two basins of negative phi."""

SETTINGS: dict[str, Any] = {
    "temperatures": [300.0, 378.0, 476.0, 600.0], "dt": 0.002, "leapfrog": 25, "equilibration": 2000,
    "compile": "trace",
}  # fmt: skip
BINS, HYDROGEN_MASS = 64, 3.0
_POSITIVE = ((55.0, 45.0), (65.0, -65.0))


def sample(out: Path, steps: int = 19_600, chains: int = 256) -> list[Frames]:
    """Frames of the runs from negative and from positive phi.

    Parameters
    ----------
    out : Path
        Where frames and checkpoints are kept: 264 bytes a frame.
    steps : int
        Frames of each chain, 50 fs of dynamics apart.
    chains : int
        Of each run; even.
    """
    system = alanine_dipeptide("amber96", "obc1", 300.0, hydrogen_mass=HYDROGEN_MASS)
    assert system.topology is not None
    turned = [set_ramachandran(system.topology, system.positions, *angles) for angles in _POSITIVE]
    starts = {"negative": ramachandran_starts(system, chains), "positive": np.stack(turned * (chains // 2))}
    return [
        parallel_tempering(
            system, steps, starts=x.astype(np.float32), seed=seed, run_dir=out / f"from-phi-{name}", **SETTINGS
        )
        for seed, (name, x) in enumerate(starts.items())
    ]


def summarise(runs: list[Frames]) -> tuple[Reference, np.ndarray]:
    """The reference, and phi and psi of all frames, (frames, 2), chain by chain."""
    edges = np.linspace(-np.pi, np.pi, BINS + 1)
    names = ["phi", "psi", "rg", "rg_mass", "end_to_end"]
    omegas = [Torsion(22, quadruple, "omega") for quadruple in ((1, 4, 6, 8), (8, 14, 16, 18))]
    observables = [*from_names(names, runs[0].topology), *omegas]
    chains = [int(run.provenance["chains"]) for run in runs]
    pieces = [np.split(run.positions, n) for run, n in zip(runs, chains, strict=True)]
    values = np.stack([_values(observables, x) for run in pieces for x in run])  # (chains, observable, frames)
    phi, psi = values[:, 0], values[:, 1]
    shares = np.stack([np.histogram2d(a, b, bins=[edges, edges])[0] for a, b in zip(phi, psi, strict=True)])
    counts = shares.sum(0)
    shares /= phi.shape[1]
    seen = counts > 0
    kl_floor = float(0.5 * (shares.var(0, ddof=1)[seen] / len(shares) / shares.mean(0)[seen]).sum())
    found = {name: inside(region, phi, psi).mean(1) for name, region in REGIONS.items()}
    by_start = {k: [_mean(part) for part in np.split(v, np.cumsum(chains)[:-1])] for k, v in found.items()}
    reference = Reference(
        counts=counts.astype(np.int64),
        edges=edges,
        frames=int(counts.sum()),
        effective_frames=float(seen.sum() / (2 * kl_floor)),
        kl_floor=kl_floor,
        regions=REGIONS,
        populations={name: _mean(v) for name, v in found.items()},
        populations_by_start=by_start,
        averages={
            name: [float(v.mean()), float(v.std()), _mean(v.mean(1))[1]]
            for name, v in zip(names[2:], values.transpose(1, 0, 2)[2:-2].astype(np.float64), strict=True)
        },
        made={
            "system": 'alanine_dipeptide("amber96", solvent="obc1", temperature=300.0), bonds flexible',
            "temperature": 300.0,
            "sampler": "bayescg.sampling.parallel_tempering",
            "settings": SETTINGS | {"hydrogen_mass": HYDROGEN_MASS, "chains": chains, "steps": phi.shape[1]},
            "starts": ["negative phi", "positive phi"],
            "seeds": [run.provenance["seed"] for run in runs],
            "acceptance": [run.provenance["acceptance"] for run in runs],
            "swaps": [run.provenance["swaps"] for run in runs],
            "cis": float((np.abs(values[:, -2:]) < np.pi / 2).any(1).mean()),
            "force_evaluations": sum(run.provenance["cost"]["force_evaluations"] for run in runs),
        },
    )  # fmt: skip
    return reference, np.stack([phi.ravel(), psi.ravel()], 1)


def make(out: Path) -> Reference:
    """Sample, or go on sampling, and write ``alanine-dipeptide-obc1-300K.npz`` and ``phipsi.npy`` to `out`."""
    reference, angles = summarise(sample(out))
    reference.save(out / "alanine-dipeptide-obc1-300K.npz")
    np.save(out / "phipsi.npy", angles)
    return reference


def _values(observables: list[Any], x: np.ndarray) -> np.ndarray:
    positions = torch.from_numpy(np.array(x))
    return np.stack([o(positions).numpy() for o in observables])


def _mean(values: np.ndarray) -> list[float]:
    """Mean over independent chains, and its standard error."""
    return [float(values.mean()), float(values.std(ddof=1) / np.sqrt(len(values)))]


if __name__ == "__main__":
    print(make(Path(sys.argv[1])))
