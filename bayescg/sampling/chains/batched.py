"""Molecular dynamics of many trajectories in one batch, as standard files."""

import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from bayescg.arguments import check_paths
from bayescg.checkpoint import whole
from bayescg.sampling.chains.dynamics import langevin
from bayescg.sampling.chains.parallel_tempering import ladder_of, parallel_tempering
from bayescg.sampling.chains.starts import structures
from bayescg.sampling.molecular.trajectories import check_simulation, claim, steps_of
from bayescg.stopping import claimed
from bayescg.units import plain

if TYPE_CHECKING:
    from collections.abc import Sequence

    from bayescg.data import Frames
    from bayescg.systems import MolecularSystem

__all__ = ["batched_dynamics", "equilibrated"]

_LEAPFROG = 25  # of parallel tempering: some 50 fs, in which torsions move, at steps that bonds allow


def batched_dynamics(
    system: "MolecularSystem",
    time: float,
    *,
    out: str | Path,
    chains: int = 256,
    starts: Any = None,
    dt: float = 0.001,
    friction: float = 1.0,
    frame_every: float = 1.0,
    equilibration: float = 20.0,
    temperatures: "Sequence[float] | None" = None,
    seed: int = 0,
    device: str = "auto",
    progress: bool | None = None,
) -> "Frames":
    """Simulate a molecule as many trajectories at once: Langevin dynamics by `langevin`, kept as XTC files.

    For small molecules in implicit solvent, and for kinetics: nothing is constrained, and on one core a batch of
    hundreds of trajectories of alanine dipeptide makes over two million steps a second in vacuum and 700 000 in OBC1,
    OpenMM 150 000 and 8 000.

    Parameters
    ----------
    system : MolecularSystem
        What to simulate, at its temperature.
    time : float or openmm.unit.Quantity
        Length of every trajectory, ps. All times, `friction`, `temperatures` and `starts` may be quantities of OpenMM.
    out : path
        Directory for ``topology.pdb``, ``trajectory-000.xtc``, ... and ``simulation.json``, which holds the settings.
    chains : int, default 256
        Number of trajectories.
    starts : array or openmm.unit.Quantity, shape (chains, atoms, 3), optional
        Starting structures in nm. Without them, peptides start from different backbone torsions
        (`ramachandran_starts`). They are relaxed, so that no clash heats them.
    dt : float, default 0.001
        Time step, ps. Flexible bonds to hydrogen bear 0.001; hydrogens of 3 dalton (``hydrogen_mass=3.0`` of
        `alanine_dipeptide`, ``hydrogenMass`` of OpenMM) bear 0.003, at which its energy is that of 0.001 within 0.2
        kJ/mol, and the variance of bonds to hydrogen 3 % larger.
    friction : float, default 1.0
        Collision rate, 1/ps.
    frame_every : float, default 1.0
        Time between frames, ps: a whole number of steps.
    equilibration : float, default 20.0
        Simulated before the first frame, ps.
    temperatures : sequence of float, optional
        Equilibrate by `parallel_tempering` at these, K, the first of which is the system's own: trajectories then begin
        in all basins as often as in equilibrium, also where they are far too short to get there by themselves.
    seed : int, default 0
        One seed gives one result on one machine.
    device : {"auto", "cpu", "cuda"}
    progress : bool, optional
        Show a bar; None: in a terminal.

    Returns
    -------
    Frames
        All trajectories, with times, temperature and topology.

    Raises
    ------
    ConfigError
        A number is out of range.
    TopologyError
        `starts` has another shape.
    UnitError
        A quantity has another dimension, or `starts` are not in nm.
    SimulationError
        A trajectory left the range of floating-point numbers: the time step is too long.
    OutputError
        The directory cannot be written, the disk is full, or the directory holds another simulation.
    Interrupted
        Ctrl-C. The same call goes on from the last checkpoint, and ends with the same frames.

    Notes
    -----
    Frames are moved to a common centroid, for a molecule diffuses away. XTC rounds coordinates to 0.001 nm.

    Examples
    --------
    >>> from tempfile import TemporaryDirectory
    >>> from bayescg.systems import alanine_dipeptide
    >>> with TemporaryDirectory() as out:
    ...     frames = batched_dynamics(alanine_dipeptide(), 0.1, out=out, chains=3, frame_every=0.02, equilibration=0.0)
    >>> len(frames), round(frames.dt, 3)
    (15, 0.02)
    """
    from openmm import XmlSerializer

    from bayescg.data import load

    time, dt, frame_every, equilibration = (plain(t, "ps") for t in (time, dt, frame_every, equilibration))
    friction, temperatures = plain(friction, "1/ps"), plain(temperatures, "K")
    check_paths(out=out)
    check_simulation(system, friction, equilibration, chains=(chains, 1), seed=(seed, 0))
    every, frames = steps_of(dt, frame_every, time)
    if temperatures is not None:
        ladder_of(system, temperatures)
    x = structures(system, starts, chains).astype(np.float32)
    out = Path(out)
    names = [f"trajectory-{chain:0{max(3, len(str(len(x) - 1)))}d}.xtc" for chain in range(len(x))]
    settings = {
        "engine": "batched", "system": XmlSerializer.serialize(system.openmm_system), "chains": len(x),
        "temperature": system.temperature, "dt": dt, "every": every, "frames": frames, "friction": friction,
        "equilibration": equilibration, "temperatures": None if temperatures is None else list(temperatures),
        "seed": seed,
    }  # fmt: skip
    claim(out, system, x, settings, [out / name for name in names])
    common: dict[str, Any] = {"dt": dt, "seed": seed, "device": device, "progress": progress}
    with claimed(out):
        if not all((out / name).exists() for name in names):
            begin, steps = equilibrated(
                system, x, round(equilibration / dt), temperatures, run_dir=out / ".equilibration", **common
            )
            frames_drawn = langevin(
                system, every * frames, friction=friction, starts=begin, stride=every, equilibration=steps,
                run_dir=out / ".dynamics", **common,
            )  # fmt: skip
            for name, positions in zip(names, frames_drawn.positions.reshape(len(x), frames, -1, 3), strict=True):
                _write(out / name, positions, every * dt, frames_drawn.box)
            shutil.rmtree(out / ".dynamics")
            shutil.rmtree(out / ".equilibration", ignore_errors=True)
    files = [str(out / name) for name in names]
    return load(files, top=str(out / "topology.pdb"), temperature=system.temperature)


def equilibrated(
    system: "MolecularSystem", x: np.ndarray, steps: int, temperatures: "Sequence[float] | None", **settings: Any
) -> tuple[Any, int]:
    """Where chains begin, relaxed and after tempering if there are temperatures, and steps of dynamics still to come.

    Parameters
    ----------
    system : MolecularSystem
    x : ndarray, (chains, atoms, 3)
        In nm.
    steps : int
        Of equilibration.
    temperatures : sequence of float, optional
    **settings
        Of :func:`bayescg.sampling.parallel_tempering`.
    """
    begin = _relaxed(system, x)
    if temperatures is None:
        return begin, steps
    moves = max(1, steps // _LEAPFROG)
    ladder: dict[str, Any] = {"temperatures": temperatures, "leapfrog": _LEAPFROG, "starts": begin, "stride": moves}
    return parallel_tempering(system, moves, **ladder, **settings), 0


def _relaxed(system: "MolecularSystem", x: np.ndarray) -> torch.Tensor:
    """Downhill a little: the step suits the stiffest bonds, and no coordinate moves more than 0.001 nm at once."""
    y = torch.from_numpy(x).flatten(1)
    for _ in range(500):
        y = y + (1e-6 * system.forces(y)).clamp(-1e-3, 1e-3)
    return y


def _write(path: Path, x: np.ndarray, dt: float, box: np.ndarray | None) -> None:
    """One trajectory, whole or not at all."""
    from mdtraj.formats import XTCTrajectoryFile

    times = (dt * (1 + np.arange(len(x)))).astype(np.float32)
    centred = np.asarray(x) - (x.mean(1, keepdims=True) if box is None else 0.0)
    boxes = None if box is None else np.broadcast_to(box, (len(x), 3, 3)).astype(np.float32)
    with whole(path) as partial:
        with XTCTrajectoryFile(str(partial), "w") as stream:
            stream.write(centred, times, np.arange(len(x), dtype=np.int32), boxes)
        with XTCTrajectoryFile(str(partial)) as stream:  # what a full disk swallowed shows here at the latest
            written = len(stream)
        if written != len(x):
            raise OSError(f"only {written} of {len(x)} frames reached the disk; it may be full")
