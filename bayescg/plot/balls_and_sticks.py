"""Conformations side by side, as balls and sticks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from bayescg.errors import DataError
from bayescg.plot.style import GREY, figure
from bayescg.plot.subjects import figure_of

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from bayescg.data import Frames

__all__ = ["conformations", "superposed"]

_COLOURS = {"C": "#555555", "O": "#D55E00", "N": "#0072B2", "H": "#d9d9d9", "S": "#E69F00", "P": "#CC79A7"}
_MANY = 60


@figure_of("bayescg.data.load")
def conformations(frames: Frames, labels: Sequence[str] = ()) -> Figure:
    """A few conformations of a molecule, superposed, seen along the direction in which it extends least.

    Atoms have the colours of their elements; of more than 60 atoms bonds alone are drawn.

    Parameters
    ----------
    frames : Frames
        Positions (n, atoms, 3), with a topology.
    labels : sequence of str
        What stands below each.

    Raises
    ------
    DataError
        The frames have no topology.

    Examples
    --------
    >>> import bayescg as bcg
    >>> system = bcg.systems.alanine_dipeptide("amber96")
    >>> frames = bcg.sampling.langevin(system, steps=20, chains=3, dt=0.001, stride=20)
    >>> len(conformations(frames, ["a", "b", "c"]).axes)
    3
    """
    trajectory = superposed(frames)
    x = trajectory.xyz.astype(float)
    middle = x.mean(0)
    _, _, directions = np.linalg.svd(middle - middle.mean(0), full_matrices=False)
    projected = (x - middle.mean(0)) @ directions.T
    reach = 1.1 * np.abs(projected[..., :2]).max((0, 1)) + 0.05
    bonds = [(a.index, b.index) for a, b in trajectory.topology.bonds]
    colours = [
        _COLOURS.get(atom.element.symbol if atom.element else "", "#009E73") for atom in trajectory.topology.atoms
    ]
    fig, axes = figure(1, len(x), 1.5, 1.5 * max(0.6, reach[1] / reach[0]) + 0.25)
    for number, (ax, here) in enumerate(zip(axes, projected, strict=True)):
        for a, b in bonds:
            ax.plot(here[[a, b], 0], here[[a, b], 1], color=GREY, lw=1.5, zorder=float(here[[a, b], 2].mean()))
        if len(here) <= _MANY:
            for place, colour in zip(here, colours, strict=True):
                ax.plot(*place[:2], "o", ms=5, color=colour, mec="white", mew=0.4, zorder=float(place[2]) + 0.02)
        ax.set_xlim(-reach[0], reach[0])
        ax.set_ylim(-reach[1], reach[1])
        ax.set_aspect("equal")
        ax.set_axis_off()
        if number < len(labels):
            ax.set_title(labels[number], fontsize=9, y=-0.15)
    return fig


def superposed(frames: Frames) -> Any:
    """The frames as a trajectory of mdtraj, each turned onto the first.

    Raises
    ------
    DataError
        They have no topology.
    """
    import mdtraj

    if frames.topology is None:
        raise DataError("these frames have no topology, so that nothing says what the atoms are")
    positions = np.array(frames.positions, np.float32)  # a copy: it is turned in place
    trajectory = mdtraj.Trajectory(positions, frames.topology)
    return trajectory.superpose(trajectory) if trajectory.n_atoms > 1 else trajectory
