"""Peptides at 300 K and more: ``python -m bayescg.questions.references.by_tempering NAME DIR``.

Alanine dipeptide in AMBER96 with OBC1, ten million frames, takes about 20 minutes of one core, at 400 to 600 K, one and
a half million, some 8 each; in ff14SB and vacuum a little longer; three alanines, half a million frames, half an hour.
All go on where they were interrupted. Parallel tempering has no error of the time step. It is run twice, from
different basins, which the plan names: that both agree on the populations shows that neither remembers where it began.
In OBC1 alanine dipeptide forgets them within some 10 ps; in vacuum, where the barriers of phi are twice as high, it
needs temperatures that cross them, and some 100 ps. Three alanines, extended or helical, take some 200 ps, as a first
look at the drift of both runs showed; 350 ps are left out, and the population of the helix ("all alpha") is the least
certain. The carbons stay L. Peptide bonds are trans: too few turn for the share of frames with a cis bond
(``made["cis"]``) to be more than what happened to come up. ``made["settings"]["steps"]`` of a file says how many frames
of each chain it holds.
"""

import sys
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch

from bayescg import systems
from bayescg.data import Frames
from bayescg.features.observables import Torsion, from_names
from bayescg.features.torsions import find_torsions
from bayescg.questions.references.sampled import Plane, Reference, inside
from bayescg.sampling import parallel_tempering
from bayescg.systems.peptides import set_ramachandran

__all__ = ["PLANS", "Plan", "make", "sample", "summarise"]

BINS, HYDROGEN_MASS = 64, 3.0
_AVERAGED = ["rg", "rg_mass", "end_to_end"]


@dataclass(frozen=True)
class Plan:
    """How a reference is made.

    Attributes
    ----------
    system : str
        Of :mod:`bayescg.systems`.
    arguments : dict
        Its own.
    starts : dict of str to tuple of (float, float)
        Of the two runs, by their names: phi and psi of all residues, in degrees, that their chains take turns to begin
        at.
    settings : dict
        Of :func:`bayescg.sampling.parallel_tempering`.
    steps : (int, int)
        Of each chain of the two runs, 50 fs of dynamics each.
    chains : int
        Of each run; a multiple of the number of its starts.
    regions : dict
        Whose populations are counted, in degrees.
    """

    system: str
    arguments: dict[str, Any]
    starts: dict[str, tuple[tuple[float, float], ...]]
    settings: dict[str, Any]
    steps: tuple[int, int]
    chains: int
    regions: dict[str, dict[str, list[float]]]


_DIPEPTIDE_STARTS = {
    "negative phi": ((-150.0, 155.0), (-75.0, -30.0), (-75.0, 150.0), (-85.0, 75.0)),
    "positive phi": ((55.0, 45.0), (65.0, -65.0)),
}
_COMMON = {"dt": 0.002, "leapfrog": 25, "compile": "trace"}
_ALPHA, _BETA, _POSITIVE = [-120.0, 60.0], [60.0, -120.0], [0.0, 120.0]
_DIPEPTIDE_REGIONS = {
    "alpha": {"psi": _ALPHA},
    "beta": {"psi": _BETA},
    "phi_positive": {"phi": _POSITIVE},
    "phi_negative": {"phi": [120.0, 0.0]},
    "phi_negative, alpha": {"phi": [120.0, 0.0], "psi": _ALPHA},
    "phi_negative, beta": {"phi": [120.0, 0.0], "psi": _BETA},
}
_ALANINES = (2, 3, 4)
PLANS = {
    "alanine-dipeptide-obc1-300K": Plan(
        "alanine_dipeptide",
        {"force_field": "amber96", "solvent": "obc1", "temperature": 300.0},
        _DIPEPTIDE_STARTS,
        {"temperatures": [300.0, 378.0, 476.0, 600.0], "equilibration": 2000} | _COMMON,
        (19_600, 19_600),
        256,
        _DIPEPTIDE_REGIONS,
    ),
    "alanine-dipeptide-vacuum-300K": Plan(
        "alanine_dipeptide",
        {"force_field": "amber14", "solvent": None, "temperature": 300.0},
        {"negative phi": ((-80.0, 75.0), (-150.0, 155.0)), "positive phi": ((60.0, -60.0), (70.0, -50.0))},
        {"temperatures": [300.0, 395.0, 520.0, 690.0, 920.0, 1230.0, 1640.0], "equilibration": 5000, "stride": 10}
        | _COMMON,
        (10_000, 10_000),
        64,
        {"C7eq": {"phi": [125.0, 0.0]}, "C7ax": {"phi": [0.0, 125.0]}},
    ),
    "trialanine-obc1-300K": Plan(
        "capped_peptide",
        {"sequence": "ACE-ALA-ALA-ALA-NME", "force_field": "amber96", "solvent": "obc1", "temperature": 300.0},
        {"extended": ((-150.0, 155.0), (-75.0, 150.0)), "helical": ((-65.0, -42.0), (57.0, 47.0))},
        {"temperatures": [300.0, 357.0, 424.0, 505.0, 600.0], "equilibration": 7000, "stride": 2} | _COMMON,
        (4000, 4000),
        128,
        {f"alpha_{k}": {f"psi ALA-{k}": _ALPHA} for k in _ALANINES}
        | {f"beta_{k}": {f"psi ALA-{k}": _BETA} for k in _ALANINES}
        | {f"phi_positive_{k}": {f"phi ALA-{k}": _POSITIVE} for k in _ALANINES}
        | {"all alpha": {f"psi ALA-{k}": _ALPHA for k in _ALANINES}}
        | {"all beta": {f"psi ALA-{k}": _BETA for k in _ALANINES}},
    ),
} | {
    f"alanine-dipeptide-obc1-{ladder[0]:g}K": Plan(
        "alanine_dipeptide",
        {"force_field": "amber96", "solvent": "obc1", "temperature": ladder[0]},
        _DIPEPTIDE_STARTS,
        _COMMON | {"temperatures": ladder, "equilibration": 4000, "stride": 4, "compile": "auto"},
        (12_000, 12_000),
        256,
        _DIPEPTIDE_REGIONS,
    )
    for ladder in ([400.0, 490.0, 600.0], [500.0, 600.0], [600.0, 720.0])
}
"""By the names of the files. Names and boundaries of regions are those of the experiments."""


def sample(plan: Plan, out: Path) -> list[Frames]:
    """Frames of the two runs.

    Parameters
    ----------
    plan : Plan
    out : Path
        Where frames and checkpoints are kept: 12 bytes for each atom of a frame.
    """
    system = getattr(systems, plan.system)(**plan.arguments, hydrogen_mass=HYDROGEN_MASS)
    runs = []
    for seed, (name, angles) in enumerate(plan.starts.items()):
        turned = [set_ramachandran(system.topology, system.start, phi, psi) for phi, psi in angles]
        starts = np.stack(turned * (plan.chains // len(angles))).astype(np.float32)
        run_dir = out / f"from-{name.replace(' ', '-')}"
        runs.append(
            parallel_tempering(system, plan.steps[seed], starts=starts, seed=seed, run_dir=run_dir, **plan.settings)
        )
    return runs


def summarise(plan: Plan, runs: list[Frames]) -> tuple[Reference, np.ndarray]:
    """The reference, and phi and psi of each residue of all frames, (frames, residues, 2), chain by chain."""
    edges = np.linspace(-np.pi, np.pi, BINS + 1)
    observables = _observables(runs[0].topology)
    values = [_values(list(observables.values()), run) for run in runs]  # (chains, frames, observable) of each
    columns = [dict(zip(observables, np.moveaxis(v, -1, 0), strict=True)) for v in values]
    frames = [v[..., 0].size for v in values]
    share = np.array(frames) / sum(frames)
    planes = {}
    for residue in (name.removeprefix("phi ") for name in observables if name.startswith("phi ")):
        pairs = [np.stack([c[f"phi {residue}"], c[f"psi {residue}"]], -1) for c in columns]
        counts = [np.stack([np.histogram2d(*chain.T, bins=[edges, edges])[0] for chain in pair]) for pair in pairs]
        mean, error = _combined([c / c[0].sum() for c in counts], share)
        visited = mean > 0
        kl_floor = float(0.5 * (error[visited] ** 2 / mean[visited]).sum())
        planes[residue] = Plane(np.asarray(sum(c.sum(0) for c in counts), np.int64), kl_floor)
    if len(planes) == 1:  # regions call its angles phi and psi
        columns = [{name.partition(" ")[0]: value for name, value in c.items()} for c in columns]
    portions = {k: [inside(r, c).mean(1) for c in columns] for k, r in plan.regions.items()}
    moments = {}
    for name in _AVERAGED:
        parts = [c[name].astype(np.float64) for c in columns]
        center, scatter = _combined([x.mean(1) for x in parts], share)
        moments[name] = [
            float(center),
            float(np.sqrt(share @ [((x - center) ** 2).mean() for x in parts])),
            float(scatter),
        ]
    omegas = [v[..., [name.startswith("omega") for name in observables]] for v in values]
    reference = Reference(
        planes=planes,
        edges=edges,
        frames=sum(frames),
        regions=plan.regions,
        populations={k: [float(a) for a in _combined(parts, share)] for k, parts in portions.items()},
        populations_by_start={
            k: [[float(a) for a in _combined([part], np.ones(1))] for part in parts] for k, parts in portions.items()
        },
        averages=moments,
        made={
            "system": f"{plan.system}({', '.join(f'{k}={v!r}' for k, v in plan.arguments.items())}), bonds flexible",
            "temperature": plan.arguments["temperature"],
            "sampler": "bayescg.sampling.parallel_tempering",
            "settings": plan.settings | {"hydrogen_mass": HYDROGEN_MASS}
            | {"chains": [len(v) for v in values], "steps": [v.shape[1] for v in values]},
            "starts": list(plan.starts),
            "seeds": [run.provenance["seed"] for run in runs],
            "acceptance": [run.provenance["acceptance"] for run in runs],
            "swaps": [run.provenance["swaps"] for run in runs],
            "cis": float(share @ [(np.abs(v) < np.pi / 2).any(-1).mean() for v in omegas]),
            "force_evaluations": sum(run.provenance["cost"]["force_evaluations"] for run in runs),
        },
    )  # fmt: skip
    angles = [np.stack([v[..., k] for k, name in enumerate(observables) if name[:3] in ("phi", "psi")], -1)
              for v in values]  # fmt: skip
    return reference, np.concatenate([v.reshape(-1, len(planes), 2) for v in angles])


def make(name: str, out: Path) -> Reference:
    """Sample, or go on sampling, and write NAME.npz and ``phipsi.npy`` to `out`."""
    reference, angles = summarise(PLANS[name], sample(PLANS[name], out))
    reference.save(out / f"{name}.npz")
    np.save(out / "phipsi.npy", angles)
    return reference


def _observables(topology: Any) -> dict[str, Any]:
    """Phi and psi residue by residue, `_AVERAGED`, and the torsions of peptide bonds, those of caps among them."""
    by_kind = [find_torsions(topology, kind) for kind in ("phi", "psi")]
    torsions = {name: atoms for pair in zip(*by_kind, strict=True) for atoms, name in pair}
    residues = [{atom.name: atom.index for atom in residue.atoms} for residue in topology.residues]
    for before, after in pairwise(residues):
        alphas = [residue.get("CA", residue.get("CH3")) for residue in (before, after)]
        torsions[f"omega {len(torsions)}"] = [alphas[0], before["C"], after["N"], alphas[1]]
    angles = {name: Torsion(topology.n_atoms, atoms, name) for name, atoms in torsions.items()}
    return angles | {o.name: o for o in from_names(_AVERAGED, topology)}


def _values(observables: list[Any], run: Frames) -> np.ndarray:
    chains = np.split(run.positions, int(run.provenance["chains"]))
    return np.stack([torch.stack([o(torch.from_numpy(np.array(x))) for o in observables], -1).numpy() for x in chains])


def _combined(parts: list[np.ndarray], share: np.ndarray) -> tuple[Any, Any]:
    """Mean over the runs, each (chains, ...), by their share of the frames; standard error from independent chains."""
    mean = sum(w * x.mean(0) for w, x in zip(share, parts, strict=True))
    variance = sum(w**2 * x.var(0, ddof=1) / len(x) for w, x in zip(share, parts, strict=True))
    return mean, np.sqrt(variance)


if __name__ == "__main__":
    print(make(sys.argv[1], Path(sys.argv[2])))
