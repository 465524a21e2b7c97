"""Frames of the beads of a coarse-grained model, with the forces on them."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from bayescg.data import Frames, evenly
from bayescg.data.split import held_out
from bayescg.data.store import Store
from bayescg.errors import ConfigError, DataError, TopologyError
from bayescg.features import Beads
from bayescg.progress import Bar
from bayescg.sampling.coarse_graining.constrained_bonds import constrained_pairs, hydrogen_bonds
from bayescg.sampling.coarse_graining.force_maps import aggregated, check_map, optimal, ties
from bayescg.systems.core import System, check_system

__all__ = ["mapped_forces"]

_AT_ONCE = 4096
_SAMPLE = 20_000  # frames of each half that an optimal map is fitted on
_BLOCKS = 20

ForcesOf = Callable[[Any], NDArray[np.floating]]
"""From numbers of frames to forces on their atoms."""


def mapped_forces(
    frames: Frames,
    system: System | None,
    mapping: Beads,
    aggregation: str = "optimal",
    *,
    constraints: Any = "auto",
    seed: int = 0,
    progress: bool | None = None,
) -> Frames:
    r"""Positions of beads and the forces on them, from which a coarse-grained potential is learned.

    The potential of mean force of beads :math:`R = M x` has the forces :math:`\langle W f \rangle_R` for every
    :math:`W` with :math:`W M^T = 1` that gives one coefficient to atoms whose distance was constrained. They differ in
    their noise about this mean, which is what limits how well it is known.

    Parameters
    ----------
    frames : Frames
        Of all atoms, or of a toy system. Their forces are used where they hold any.
    system : System or None
        Otherwise forces are computed by this, at the frames' positions. None: they must have forces.
    mapping : Beads
        Of :func:`bayescg.features.beads`.
    aggregation : {"optimal", "basic", "slice"}
        ``"slice"``: the forces on the atoms of each bead, added up. ``"basic"``: these, and those on their hydrogens
        and on all that a constraint joins to them. ``"optimal"``: the combination of the forces on all atoms that is
        smallest in mean square. It is fitted twice, on either half of the blocks of frames, and each is used on the
        other half: a map is never fitted to the forces that it is used on.
    constraints : "auto", openmm.System or sequence of (int, int)
        Pairs of atoms whose distance the simulation held fixed. ``"auto"``: bonds whose length does not vary in the
        frames; an OpenMM System: its constraints; ``[]``: none.
    seed : int
        Of the halves.
    progress : bool, optional
        Show a bar; None: in a terminal.

    Returns
    -------
    Frames
        Positions and forces ``(n, beads, 3)``, or ``(n, beads)`` of a toy system, with the topology of the beads;
        weights, trajectories and times are those of `frames`. ``provenance["mapped"]`` says how, and the mean square
        of each bead's force.

    Raises
    ------
    DataError
        There are no forces and no system, forces are not finite, frames are too few to fit a map, or a bead has no
        mean force: its atoms are bonded rigidly to others and not aggregated with them, or two beads to each other.
    TopologyError
        The mapping or the system is of another number of atoms.
    ConfigError
        An argument is none of the choices.

    Notes
    -----
    Alanine dipeptide with five beads at its backbone, 7680 frames of flexible bonds, mean square in 1e6 (kJ/mol/nm)²:
    slice 1.47, basic 1.21, optimal 0.72, much of which is signal. Forces on beads are best of simulations with flexible
    bonds; where bonds to hydrogen were constrained, the basic and the optimal map tie each hydrogen to its atom.

    A bias that depends on the beads alone leaves their mean forces as they are. So frames of
    :func:`bayescg.sampling.umbrella` along a function of the beads, handed on without their weights, teach barriers
    that dynamics hardly crosses; forces are computed by `system`, which knows no bias.

    References
    ----------
    Noid et al., J. Chem. Phys. 128, 244114 (2008), for the condition on W; Krämer et al., J. Phys. Chem. Lett. 14, 3970
    (2023), for constraints and the optimal map.

    Examples
    --------
    >>> import bayescg as bcg
    >>> system = bcg.systems.alanine_dipeptide()
    >>> frames = bcg.sampling.langevin(system, 100, dt=0.0005, chains=8, stride=2)
    >>> mapping = bcg.features.beads(system, ["C ACE", "N ALA", "CA ALA", "C ALA", "N NME"])
    >>> forces = mapped_forces(frames, system, mapping, aggregation="basic")
    >>> forces, forces.forces.shape
    (Frames(400 x 5 x 3, nm, 8 trajectories, dt=0.001), (400, 5, 3))
    """
    if aggregation not in ("optimal", "basic", "slice"):
        raise ConfigError(f'aggregation={aggregation!r}; use "optimal", "basic" or "slice"')
    _check(frames, system, mapping)
    topology = frames.topology
    pairs = constrained_pairs(constraints, frames, topology)
    tied = ties(mapping.columns, pairs)
    source = _of_frames(frames) if frames.forces is not None else _of_system(frames, system)
    half = np.zeros(len(frames), dtype=np.int64)
    if aggregation == "optimal":
        half = held_out(frames.trajectory, frames.order, _BLOCKS, 0.5, seed).astype(np.int64)
        maps = [_fitted(frames, source, mapping, tied, np.flatnonzero(half != k)) for k in (0, 1)]
    else:
        joined = tied if aggregation == "slice" else ties(mapping.columns, [*pairs, *hydrogen_bonds(topology)])
        maps = [aggregated(mapping, np.eye(mapping.columns) if aggregation == "slice" else joined)]
    for weights in maps:
        _check_tied(weights, tied, mapping, topology)
        check_map(weights, mapping, aggregation)
    positions, forces = _mapped(frames, source, mapping, maps, half, progress)
    note = {
        "aggregation": aggregation,
        "beads": mapping.labels,
        "constrained": len(pairs),
        "mean_square_forces": [float(v) for v in _mean_square(forces, frames.weights)],
    }
    return replace(
        frames,
        positions=positions,
        forces=forces,
        energy=None,
        topology=mapping.topology,
        provenance={**frames.provenance, "mapped": note},
        **_temperature(frames, system),
    )


def _check(frames: Frames, system: System | None, mapping: Beads) -> None:
    if not isinstance(mapping, Beads):
        raise ConfigError(f"the mapping is a {type(mapping).__name__}; make it by bcg.features.beads(topology, ...)")
    toy = frames.positions.ndim == 2
    columns = frames.positions.shape[1]
    if toy != (mapping.atoms is None) or columns != mapping.columns:
        of = f"{columns} {'coordinates' if toy else 'atoms'}"
        raise TopologyError(f"the frames are of {of}, the beads of another system: {mapping!r}")
    mapping.check_frames(frames)
    if system is None and frames.forces is None:
        raise DataError(
            "the frames have no forces: give the system that they are of, which computes them, or keep them in the "
            "simulation (forces=True of bcg.sampling.langevin)"
        )
    if system is None:
        return
    check_system(system)
    if system.cartesian.dim != frames.dim:
        raise TopologyError(f"the frames have {frames.dim} coordinates, the system {system.cartesian.dim}")


def _of_frames(frames: Frames) -> ForcesOf:
    return lambda rows: frames.gather(rows, "forces")


def _of_system(frames: Frames, system: System | None) -> ForcesOf:
    assert system is not None
    exact = system.cartesian.unguarded

    def forces(rows: Any) -> NDArray[np.floating]:
        x = frames.gather(rows)
        f = exact.forces(torch.as_tensor(x.reshape(len(x), -1))).numpy().reshape(x.shape)
        bad = ~np.isfinite(f.reshape(len(f), -1)).all(1)
        if bad.any():
            frame = np.arange(len(frames))[rows][bad][0]
            raise DataError(f"frame {frame} has no finite forces: its positions are no molecule; leave it out")
        return f

    return forces


def _fitted(
    frames: Frames, source: ForcesOf, mapping: Beads, tied: NDArray[np.float64], rows: NDArray[np.int64]
) -> NDArray[np.float64]:
    """The optimal map of some of the frames."""
    rows = rows[evenly(rows, _SAMPLE)]
    needed = -(-2 * tied.shape[1] // (1 if mapping.atoms is None else 3))
    if len(rows) < needed:
        raise DataError(
            f'aggregation="optimal" fits coefficients of {tied.shape[1]} forces on each half of the frames, for which '
            f'{len(frames)} frames are fewer than the {2 * needed} that it needs: use aggregation="basic"'
        )
    covariance = np.zeros((mapping.columns, mapping.columns))
    for start in range(0, len(rows), _AT_ONCE):
        part = rows[start : start + _AT_ONCE]
        f = source(part).reshape(len(part), mapping.columns, -1).astype(np.float64)
        weights = np.ones(len(part)) if frames.weights is None else frames.weights[part]
        covariance += np.einsum("n,nik,njk->ij", weights, f, f, optimize=True)
    return optimal(mapping, tied, covariance)


def _check_tied(weights: NDArray[np.float64], tied: NDArray[np.float64], mapping: Beads, topology: Any) -> None:
    """Refuse a map that gives atoms of a rigid group different coefficients: their constraint forces would count."""
    mean = (weights @ tied / tied.sum(0)) @ tied.T
    if np.abs(weights - mean).max() < 1e-6 * np.abs(weights).max():
        return
    bead, atom = np.unravel_index(int(np.abs(weights - mean).argmax()), weights.shape)
    group = [str(topology.atom(int(i))) for i in np.flatnonzero(tied[:, tied[atom].argmax()])]
    raise DataError(
        f"bead {mapping.labels[bead]}: the bonds among {', '.join(group)} were constrained, so that the force on some "
        'of these atoms alone is no mean force: use aggregation="basic" or "optimal", which take them together'
    )


def _mapped(
    frames: Frames,
    source: ForcesOf,
    mapping: Beads,
    maps: list[NDArray[np.float64]],
    half: NDArray[np.int64],
    progress: bool | None,
) -> tuple[NDArray[np.floating], NDArray[np.floating]]:
    """Positions of and forces on the beads of all frames."""
    stores, weights = (Store(), Store()), np.stack(maps)
    n = len(frames)
    with Bar("mapped forces", n, 0, progress) as bar:
        for start in range(0, n, _AT_ONCE):
            rows = slice(start, min(start + _AT_ONCE, n))
            x, f = frames.gather(rows), source(rows)
            stores[0].append(mapping.bead_positions(torch.as_tensor(x)).numpy())
            each = np.einsum("hbi,ni...->hnb...", weights, f.astype(np.float64), optimize=True)
            stores[1].append(each[half[rows], np.arange(len(f))].astype(f.dtype))
            bar.update(rows.stop, f"{rows.stop:,} of {n:,} frames")
    return stores[0].finish(), stores[1].finish()


def _mean_square(forces: NDArray[np.floating], weights: Any) -> NDArray[np.float64]:
    """Of each bead, per component."""
    total = np.zeros(forces.shape[1])
    w = np.ones(len(forces)) if weights is None else weights
    for start in range(0, len(forces), _AT_ONCE):
        part = np.asarray(forces[start : start + _AT_ONCE], np.float64)
        square = np.square(part.reshape(*part.shape[:2], -1)).mean(-1)
        total += w[start : start + _AT_ONCE] @ square
    return total / w.sum()


def _temperature(frames: Frames, system: System | None) -> dict[str, Any]:
    """That of the system, where the frames do not say."""
    if system is None or frames.temperature is not None or frames.temperature_kT is not None:
        return {}
    if system.temperature is None:
        return {"temperature_kT": system.kT}
    return {"temperature": system.temperature}
