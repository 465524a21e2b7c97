"""Frames of all atoms from frames of the beads of a coarse-grained model."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import torch

from bayescg.arguments import check_counts
from bayescg.data import Frames, draw_of
from bayescg.errors import ConfigError, DataError, ModelError, TopologyError
from bayescg.recording.functional import call_with, mixed_seed, seeded

__all__ = ["backmapped"]

_AT_ONCE = 4096


def backmapped(fit: Any, frames: Frames, draws: int | None = None, seed: int = 0) -> Frames:
    """Place the atoms around the beads of frames, as a fit of :class:`bayescg.models.Backmapping` draws them.

    Parameters
    ----------
    fit : Fit
    frames : Frames
        Of the beads of its mapping: of a simulation of a coarse-grained potential, say.
    draws : int, optional
        So many draws of the posterior, at most the refits, among which the frames are divided in order, are told apart
        by analyses, whose error bars then hold what is not known of the backmapping; by how much the stretches differ
        of frames that remember each other is counted with it, so that they are too wide unless each is many
        correlation times long. Frames with weights cannot be divided. Of frames that were simulated with draws of a
        potential themselves (``fit.system(draws=)``), which then must be as many, each draw of the potential has one of
        the backmapping. None: the trained values.
    seed : int

    Returns
    -------
    Frames
        Of all atoms, with the beads at their places, and the times and weights of `frames`. Their trajectories end
        where another draw begins.

    Raises
    ------
    ModelError
        The fit is of another model, or has no parameter uncertainty to draw from.
    TopologyError
        The frames are of other beads.
    DataError
        Beads are not finite, or lie so that atoms cannot be placed around them: three on a line, or two in one place.
    ConfigError
        There are not so many refits or frames, the frames have weights and are to be divided among draws, or they are
        of another number of draws.

    Examples
    --------
    >>> import bayescg as bcg
    >>> model, frames, _ = bcg.models.Backmapping.example()
    >>> fit = bcg.fit(model, frames, steps=5, uncertainty="none")
    >>> beads = replace(frames, positions=frames.positions[:, model.atoms], topology=model.mapping.topology)
    >>> atoms = backmapped(fit, beads)
    >>> atoms.positions.shape, float(abs(atoms.positions[:, model.atoms] - beads.positions).max()) < 1e-5
    ((32, 22, 3), True)
    """
    model: Any = fit.model
    if not hasattr(model, "around"):
        raise ModelError(f"{type(model).__name__} places no atoms around beads; fit bayescg.models.Backmapping")
    check_counts(seed=(seed, 0), **({} if draws is None else {"draws": (draws, 1)}))
    _check_beads(frames, model)
    potentials = frames.provenance.get("potential_draws")
    if draws is not None and potentials is not None and draws != potentials:
        raise ConfigError(f"the frames are of {potentials} draws of a potential: give draws={potentials}, one for each")
    if draws is not None and draws > len(frames):
        raise ConfigError(f"{len(frames)} frames cannot be divided among draws={draws}")
    if draws is not None and potentials is None and frames.weights is not None:
        raise ConfigError(
            f"the frames have weights, by which stretches of them, one for each of draws={draws}, would not count: "
            "leave draws out, or simulate the beads without a bias"
        )
    varying, many = fit.weights.some(None, draws, seed, type(model).__name__)
    number = draw_of(frames)
    if many is not None and number is None:
        number = np.arange(len(frames)) * many // len(frames)
        frames = _divided(frames, number, many)
    positions = np.empty((len(frames), model.mapping.columns, 3), frames.gather([0]).dtype)
    for k in range(many or 1):
        point = {**fit.weights.point, **{name: values[k] for name, values in varying.items()}}
        rows = np.arange(len(frames)) if many is None or number is None else np.flatnonzero(number == k)
        if not len(rows):  # a part of such a simulation
            continue
        with torch.no_grad(), seeded(mixed_seed(seed, k), next(iter(point.values())).device):
            positions[rows] = call_with(model, point, _around, frames, rows)
    note = {"sampler": "backmapped", "beads": model.mapping.labels}
    return replace(
        frames, positions=positions, topology=model.topology, masses=None, momenta=None, forces=None, energy=None,
        provenance={**frames.provenance, **note},
    )  # fmt: skip


def _around(model: Any, frames: Frames, rows: np.ndarray) -> np.ndarray:
    """Positions of all atoms, of these rows."""
    like = next(model.parameters())
    placed = []
    for start in range(0, len(rows), _AT_ONCE):
        part = rows[start : start + _AT_ONCE]
        beads = torch.as_tensor(frames.gather(part)).to(like)
        lost = (~beads.isfinite().flatten(1).all(1)).nonzero()
        if len(lost):
            raise DataError(f"beads of frame {part[int(lost[0])]} are not finite")
        x = model.around(beads)
        bad = ~x.isfinite().flatten(1).all(1)
        if bool(bad.any()):
            raise DataError(
                f"no atoms can be placed around the beads of frame {part[int(bad.nonzero()[0])]}: three of them lie on "
                "a line, or two in one place; leave it out"
            )
        placed.append(x.cpu().numpy())
    return np.concatenate(placed)


def _check_beads(frames: Frames, model: Any) -> None:
    beads = model.mapping.topology
    if frames.topology is None or frames.topology.n_atoms != beads.n_atoms:
        of = f"{frames.dim} coordinates" if frames.topology is None else f"{frames.topology.n_atoms} atoms"
        raise TopologyError(f"the backmapping is around {beads.n_atoms} beads, these frames are of {of}")
    for a, b in zip(beads.atoms, frames.topology.atoms, strict=True):
        if str(a) != str(b):
            raise TopologyError(f"bead {a.index} is {a} in the backmapping and {b} in these frames")


def _divided(frames: Frames, number: np.ndarray, count: int) -> Frames:
    """With trajectories that end where another draw begins, as many of each as of any."""
    local = np.zeros(len(frames), dtype=np.int64)
    for k in range(count):
        local[number == k] = np.unique(frames.trajectory[number == k], return_inverse=True)[1]
    each = int(local.max()) + 1
    note = {**frames.provenance, "potential_draws": count, "chains": count * each}
    return replace(frames, trajectory=number * each + local, provenance=note)
