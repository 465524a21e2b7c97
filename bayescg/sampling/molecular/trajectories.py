"""Molecular dynamics: independent Langevin trajectories, one worker process each, as standard files."""

import hashlib
import json
import math
import os
import warnings
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING, Any

import numpy as np

from bayescg.arguments import check_counts, check_numbers, check_paths
from bayescg.checkpoint import write_file
from bayescg.errors import ConfigError, OutputError
from bayescg.progress import Bar
from bayescg.sampling.chains.starts import structures
from bayescg.sampling.molecular.workers import run_all
from bayescg.stopping import claimed
from bayescg.units import plain

if TYPE_CHECKING:
    from bayescg.data import Frames
    from bayescg.systems import MolecularSystem

__all__ = ["check_simulation", "claim", "molecular_dynamics", "steps_of"]

# Up to this size OpenMM's Reference platform beats its CPU platform: 44 000 steps/s against 1800 at 22 atoms,
# 2100 against 1300 at 112, 570 against 1200 at 212 (ACE-ALA_n-NME, AMBER ff96 + OBC2, CPU platform on 2 cores).
_REFERENCE_ATOMS = 150


def molecular_dynamics(
    system: "MolecularSystem",
    time: float,
    *,
    out: str | os.PathLike,
    chains: int = 4,
    starts: Any = None,
    dt: float = 0.002,
    friction: float = 1.0,
    frame_every: float = 1.0,
    equilibration: float = 20.0,
    seed: int = 0,
    processes: int = 2,
    wall_limit: float | None = None,
    progress: bool | None = None,
) -> "Frames":
    """Simulate a molecule: independent Langevin trajectories, kept as XTC files and returned as frames.

    Every chain minimises its start, draws velocities, equilibrates (not written) and then writes a frame at a
    time. Bonds to hydrogen are constrained (`constrain_hydrogens`), the integrator is LangevinMiddle. A
    trajectory appears under its name when it is complete; the same call then runs only those that are
    missing.

    Parameters
    ----------
    system : MolecularSystem
        What to simulate, at its temperature.
    time : float or openmm.unit.Quantity
        Length of every trajectory, ps. All times, `friction` and `starts` may be quantities of OpenMM.
    out : path
        Directory for ``topology.pdb``, ``trajectory-00.xtc``, ... and ``simulation.json``, which holds the
        settings.
    chains : int, default 4
        Number of trajectories.
    starts : array or openmm.unit.Quantity, shape (chains, atoms, 3), optional
        Starting structures in nm. Without them, peptides start from different backbone torsions
        (`ramachandran_starts`).
    dt : float, default 0.002
        Time step, ps.
    friction : float, default 1.0
        Collision rate, 1/ps.
    frame_every : float, default 1.0
        Time between frames, ps: a whole number of steps.
    equilibration : float, default 20.0
        Simulated before the first frame, ps.
    seed : int, default 0
        One seed gives one result on one machine (on OpenMM's Reference platform, used up to 150 atoms).
    processes : int, default 2
        How many trajectories run at the same time.
    wall_limit : float, optional
        Seconds for everything. Each trajectory gets its share and ends early where that is not enough, with a
        warning; it counts as complete.
    progress : bool, optional
        Show a bar. Without a choice: where standard error is a terminal.

    Returns
    -------
    Frames
        All trajectories, with times, temperature and topology.

    Raises
    ------
    ConfigError
        A number is out of range, or the system has no temperature in K.
    TopologyError
        `starts` has another shape.
    UnitError
        A quantity has another dimension, or `starts` are not in nm.
    SimulationError
        A trajectory cannot go on; the message names it and the step. Finished ones are kept.
    OutputError
        The directory cannot be written, the disk is full, or the directory holds another simulation.
    Interrupted
        Ctrl-C. Finished trajectories are kept.

    Notes
    -----
    Frames of systems without a periodic box are moved to a common centroid, for a Langevin molecule diffuses
    away. XTC rounds coordinates to 0.001 nm. The constraints make the frames draws of the molecule with rigid bonds to
    hydrogen; `system.energy`, that of the flexible molecule, finds these bonds at their minimum.

    Source
    ------
    Zhang, Liu, Yan, Tuckerman, Liu, J. Phys. Chem. A 123, 6056 (2019): the LangevinMiddle integrator.

    Examples
    --------
    >>> from tempfile import TemporaryDirectory
    >>> from bayescg.systems import alanine_dipeptide
    >>> with TemporaryDirectory() as out:
    ...     frames = molecular_dynamics(alanine_dipeptide(), 2.0, out=out, chains=1, equilibration=0.0)
    >>> len(frames)
    2
    """
    from bayescg.data import load

    time, dt, frame_every, equilibration = (plain(t, "ps") for t in (time, dt, frame_every, equilibration))
    friction = plain(friction, "1/ps")
    check_paths(out=out)
    every, frames = steps_of(dt, frame_every, time)
    check_simulation(system, friction, equilibration, chains=(chains, 1), processes=(processes, 1), seed=(seed, 0))
    if wall_limit is not None:
        check_numbers(wall_limit=(wall_limit, "(0, inf]"))
    starts = structures(system, starts, chains)
    chains = len(starts)
    shared = _shared_job(system, processes) | {
        "friction": friction,
        "dt": dt,
        "every": every,
        "frames": frames,
        "equilibration": round(equilibration / dt),
    }
    out = Path(out)
    files = [out / f"trajectory-{chain:02d}.xtc" for chain in range(chains)]
    claim(out, system, starts, shared | {"seed": seed, "chains": chains}, files)
    missing = [chain for chain in range(chains) if not files[chain].exists()]
    share = None if wall_limit is None else wall_limit / max(1, math.ceil(len(missing) / processes))
    jobs = [
        shared
        | {
            "name": files[chain].name,
            "out": str(files[chain].absolute()),
            "positions": starts[chain].tolist(),
            "seconds": share,
            # OpenMM takes 31 bits, and reads 0 as "any seed"
            "seed": 1 + int(np.random.SeedSequence([seed, chain]).generate_state(1)[0]) % (2**31 - 2),
        }
        for chain in missing
    ]
    with claimed(out), _Pace(len(jobs) * frames * every, dt, progress) as bar:
        try:
            run_all(jobs, processes, bar.report)
        finally:
            for partial in out.glob(".trajectory-*.partial.xtc"):
                partial.unlink()
    _warn_if_short(files, frames)
    return load([str(file) for file in files], top=str(out / "topology.pdb"), temperature=system.temperature)


def steps_of(dt: float, frame_every: float, time: float) -> tuple[int, int]:
    """Steps between frames, and frames."""
    check_numbers(dt=(dt, "(-inf, inf)"))
    if not 0 < dt <= 0.005:
        raise ConfigError(f"dt={dt} ps: a time step is positive and at most 0.005 ps (0.002 is usual)")
    check_numbers(frame_every=(frame_every, "(-inf, inf)"))
    every = round(frame_every / dt)
    if every < 1 or not math.isclose(every * dt, frame_every, rel_tol=1e-6):
        raise ConfigError(f"frame_every={frame_every} ps must be a whole number of steps of dt={dt} ps")
    check_numbers(time=(time, "[-inf, inf]"))
    if time == math.inf or time < frame_every:
        raise ConfigError(f"time={time} ps is shorter than one frame (frame_every={frame_every} ps)")
    return every, int(time / frame_every * (1 + 1e-9))


def check_simulation(
    system: "MolecularSystem", friction: float, equilibration: float, **counts: tuple[Any, int]
) -> None:
    """Refuse what is no molecule at a temperature, and numbers out of range; counts as for `check_counts`."""
    from bayescg.systems.core import check_system  # needs PyTorch

    check_system(system)
    if system.temperature is None or not hasattr(system, "openmm_system"):
        raise ConfigError("molecular dynamics needs a molecular system (from_openmm, alanine_dipeptide, ...)")
    check_counts(**counts)
    check_numbers(friction=(friction, "(0, inf)"), equilibration=(equilibration, "[0, inf)"))


def _cores() -> int:
    """Cores for this simulation: where many runs share the machine, OMP_NUM_THREADS is the share of each."""
    share = os.environ.get("OMP_NUM_THREADS", "")
    return int(share) if share.isdigit() else os.cpu_count() or 1


def _shared_job(system: "MolecularSystem", processes: int) -> dict[str, Any]:
    import openmm

    from bayescg.systems.molecules import constrain_hydrogens

    assert system.topology is not None
    atoms = system.topology.getNumAtoms()
    available = [openmm.Platform.getPlatform(i).getName() for i in range(openmm.Platform.getNumPlatforms())]
    fast = "CUDA" if "CUDA" in available else "CPU"
    return {
        "system": openmm.XmlSerializer.serialize(constrain_hydrogens(system.openmm_system, system.topology)),
        "temperature": system.temperature,
        "platform": "Reference" if atoms <= _REFERENCE_ATOMS else fast,
        "properties": {"DeterministicForces": "true", "Threads": str(max(1, _cores() // processes))},
    }


def claim(
    out: Path, system: "MolecularSystem", starts: np.ndarray, settings: dict[str, Any], files: list[Path]
) -> None:
    """Write topology and settings, or make sure that those already there are the same."""
    from openmm.app import PDBFile

    settings = settings | {
        "system": hashlib.sha256(settings["system"].encode()).hexdigest(),
        "starts": hashlib.sha256(starts.tobytes()).hexdigest(),
    }
    settings.pop("properties", None)
    record = out / "simulation.json"
    try:
        before = json.loads(record.read_text())
    except FileNotFoundError:
        before = None
        strangers = [file.name for file in files if file.exists()]
        if strangers:
            raise OutputError(f"{out} holds {strangers[0]} of unknown origin; choose another directory") from None
    except (OSError, ValueError) as error:
        raise OutputError(f"cannot read {record}: {error}; choose another directory") from error
    if before is not None and before != settings:
        names = sorted(key for key in before.keys() | settings.keys() if before.get(key) != settings.get(key))
        raise OutputError(
            f"{out} holds another simulation (different: {', '.join(names)}); choose another directory or delete it"
        )
    if before is None:
        try:
            out.mkdir(parents=True, exist_ok=True)
            with (out / "topology.pdb").open("w") as stream:
                PDBFile.writeFile(system.topology, 10 * starts[0], stream)
        except OSError as error:
            raise OutputError(f"cannot write to {out}: {error.strerror or error}; choose another directory") from error
        write_file(record, json.dumps(settings, indent=1))


class _Pace(Bar):
    """A bar over the steps of all chains, with the pace in ns/day."""

    def __init__(self, steps: int, dt: float, show: bool | None):
        super().__init__("molecular dynamics", steps, 0, show)
        self._steps, self._dt, self._began = steps, dt, monotonic()
        self._done: dict[int, int] = {}

    def report(self, chain: int, step: int) -> None:
        """Note how far a chain is."""
        self._done[chain] = step
        total = sum(self._done.values())
        pace = total * self._dt / 1000 / (monotonic() - self._began) * 86400
        self.update(total, f"{total:,} of {self._steps:,} steps, {pace:,.0f} ns/day")


def _warn_if_short(files: list[Path], frames: int) -> None:
    from mdtraj.formats import XTCTrajectoryFile

    short = []
    for file in files:
        with XTCTrajectoryFile(str(file)) as stream:
            if len(stream) < frames:
                short.append(f"{file.name} has {len(stream)}")
    if short:
        warnings.warn(f"the wall limit ended trajectories before {frames} frames: {'; '.join(short)}", stacklevel=3)
