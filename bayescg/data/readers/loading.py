"""Doors for trajectories on disk: files, an OpenMM reporter's output, and decoded frames kept in a cache."""

import hashlib
import os
import shutil
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bayescg.data import frame_checks
from bayescg.data.frames import Frames
from bayescg.data.readers.assembly import Assembly, Decoded, Part, selection
from bayescg.data.readers.files import chunks, declared_unit, extension, known_step, open_array, read_topology, readable
from bayescg.data.readers.geometry import scan
from bayescg.errors import BayescgError, DataError, OutputError
from bayescg.units import plain

if TYPE_CHECKING:
    import mdtraj

__all__ = ["from_openmm", "load"]


def load(
    paths: Any,
    top: Any = None,
    temperature: Any = None,
    stride: int = 1,
    select: str | None = None,
    unit: str | None = None,
    *,
    dt: float | None = None,
    weights: Any = None,
    cache: str | os.PathLike[str] | None = None,
    memory_limit: int = 2**28,
) -> Frames:
    """Frames from trajectory files: whatever mdtraj reads (xtc, dcd, trr, h5, nc, pdb, ...), and ``.npy`` arrays.

    Each file is one trajectory. Files are read in chunks; decoded frames beyond `memory_limit` go to a memory-mapped
    file, so that memory stays flat however long the trajectories are.

    Parameters
    ----------
    paths : path or list of paths
        Trajectory files.
    top : path, mdtraj.Topology or mdtraj.Trajectory, optional
        The atoms, for formats that hold coordinates only.
    temperature : float, optional
        Temperature in K (kT where reduced); one a file is accepted if they agree.
    stride : int
        Keep every `stride`-th frame of each file.
    select : str, optional
        Atoms to keep, in mdtraj's selection language: ``"not water"``, ``"name CA"``.
    unit : str, optional
        What the numbers in the files are, if not what their format says; ``.npy`` files say nothing and need it.
    dt : float, optional
        Time between saved frames in ps, for formats that do not say (dcd mostly, pdb, npy, ...). Without it such frames
        are known to follow each other, but have no lag times; ``.npy`` frames are then independent draws.
    weights : array, (n,), optional
        Importance weights of the kept frames, of which only the ratios count (see :class:`Frames`); for a biased
        simulation those of :func:`bayescg.data.from_colvar`.
    cache : path, optional
        A directory that keeps decoded frames: loading the same files again is then immediate.
    memory_limit : int
        Bytes of decoded frames to hold in memory.

    Returns
    -------
    Frames

    Raises
    ------
    DataError
        Files that are missing, unreadable, cut short or empty; frames that are not finite or broken across a periodic
        box; times that repeat or go back; files whose temperatures, time steps or boxes differ.
    UnitError
        Bond lengths contradict the unit.
    TopologyError
        The atoms do not belong to the coordinates.

    Examples
    --------
    >>> import tempfile, numpy
    >>> folder = tempfile.TemporaryDirectory()
    >>> numpy.save(folder.name + "/x.npy", numpy.arange(10.0).reshape(5, 2))
    >>> frames = load(folder.name + "/x.npy", unit="reduced", dt=0.1, stride=2)
    >>> len(frames), frames.dt
    (3, 0.2)
    >>> folder.cleanup()
    """
    files = _files(paths)
    full = read_topology(top, files[0])
    topology, atoms = selection(full, select)
    npy = all(extension(path) == ".npy" for path in files)
    if npy and len(files) == 1 and unit in ("nm", "reduced") and stride == 1 and select is None and cache is None:
        decoded = _mapped(files[0], topology, unit)
    else:

        def decode(directory: Path | None) -> Decoded:
            with Assembly(topology, atoms, stride, memory_limit, directory) as assembly:
                for path in files:
                    assembly.add(str(path), chunks(path, full, unit), declared_unit(path, unit), known_step(path))
                return assembly.finish()

        decoded = (
            decode(None) if cache is None else _cached(Path(cache), _key(files, full, stride, select, unit), decode)
        )
    return decoded.frames(
        unit="reduced" if unit == "reduced" else "nm",
        ordered=not npy,
        dt=None if dt is None else dt * stride,
        topology=topology,
        temperature=temperature,
        weights=weights,
        provenance={
            "files": [str(path) for path in files],
            "reader": "numpy" if npy else "mdtraj",
            "select": select,
            "stride": stride,
            "unit": unit,
            "versions": {"bayescg": version("bayescg")} | ({} if npy else {"mdtraj": version("mdtraj")}),
        },
    )


def from_openmm(
    paths: Any,
    topology: Any,
    temperature: Any = None,
    stride: int = 1,
    select: str | None = None,
    *,
    dt: Any = None,
    **options: Any,
) -> Frames:
    """Frames that an OpenMM reporter wrote (DCD, XTC, PDB, HDF5).

    Parameters
    ----------
    paths : path or list of paths
        The reporters' files, each one trajectory.
    topology : openmm.app.Topology
        Of the simulation: ``simulation.topology``.
    temperature, dt : float or openmm.unit.Quantity, optional
        Temperature (K) and time between saved frames (ps). OpenMM's DCD and XTC files know the latter.
    stride, select, **options
        As in :func:`load`.

    Examples
    --------
    >>> import tempfile
    >>> from openmm import app, unit
    >>> topology = app.Topology()
    >>> residue = topology.addResidue("ARG", topology.addChain())
    >>> for _ in range(2):
    ...     atom = topology.addAtom("Ar", app.Element.getBySymbol("Ar"), residue)
    >>> folder = tempfile.TemporaryDirectory()
    >>> with open(folder.name + "/argon.dcd", "wb") as file:
    ...     dcd = app.DCDFile(file, topology, dt=0.002 * unit.picoseconds, interval=500)
    ...     for k in range(3):
    ...         dcd.writeModel([[0, 0, 0], [0.4 + 0.01 * k, 0, 0]] * unit.nanometers)
    >>> frames = from_openmm(folder.name + "/argon.dcd", topology, temperature=90 * unit.kelvin)
    >>> frames.dt, frames.temperature, len(frames)
    (1.0, 90.0, 3)
    >>> folder.cleanup()
    """
    top = frame_checks.mdtraj_topology(topology)
    return load(paths, top, plain(temperature, "K"), stride, select, dt=plain(dt, "ps"), **options)


def _files(paths: Any) -> list[Path]:
    listed = [paths] if isinstance(paths, str | os.PathLike) else list(paths)
    if not listed:
        raise DataError("no trajectory file given: the list of paths is empty (a pattern that matched nothing?)")
    files = [readable(path) for path in listed]
    resolved = [path.resolve() for path in files]
    for k, path in enumerate(resolved):
        if path in resolved[:k]:
            raise DataError(f"{files[k]} is given twice: its frames would count double")
    return files


def _mapped(path: Path, topology: "mdtraj.Topology | None", unit: str | None) -> Decoded:
    """A single array file, used where it lies."""
    positions = open_array(path, topology, unit)
    scan(positions, source=str(path), unit=str(unit), topology=topology)
    return Decoded(positions, None, [Part(str(path), len(positions))])


def _cached(cache: Path, key: str, decode: Callable[[Path], Decoded]) -> Decoded:
    """Frames decoded before, or decoded now and renamed into place when complete."""
    place = cache / key
    if not place.exists():
        unfinished = cache / f".{key}.{os.getpid()}"
        try:
            unfinished.mkdir(parents=True, exist_ok=True)
            decode(unfinished)
            try:
                unfinished.rename(place)
            except OSError:
                # another process may have been faster, with the same frames
                if not place.exists():
                    raise
        except OSError as error:
            if isinstance(error, BayescgError):
                raise
            raise OutputError(f"cannot write decoded frames to {cache}: {error.strerror or error}") from error
        finally:
            shutil.rmtree(unfinished, ignore_errors=True)
    return Decoded.read(place)


def _key(files: list[Path], topology: Any, stride: int, select: str | None, unit: str | None) -> str:
    atoms = "" if topology is None else " ".join(map(str, [*topology.atoms, *topology.bonds]))
    stats = [(str(path.resolve()), path.stat().st_size, path.stat().st_mtime_ns) for path in files]
    return hashlib.blake2b(repr((1, stats, atoms, stride, select, unit)).encode(), digest_size=12).hexdigest()
