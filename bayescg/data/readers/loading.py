"""Doors for trajectories on disk: files, an OpenMM reporter's output, and decoded frames kept in a cache."""

import glob
import hashlib
import os
import shutil
from collections.abc import Callable, Iterable
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bayescg.arguments import check_counts, check_flags, check_paths
from bayescg.data.frames import Frames
from bayescg.data.readers.assembly import Assembly, Decoded, Part, selection
from bayescg.data.readers.files import (
    Source,
    chunks,
    declared_unit,
    extension,
    known_step,
    open_array,
    readable,
    topology_of,
)
from bayescg.data.readers.geometry import scan
from bayescg.errors import BayescgError, ConfigError, DataError, OutputError, UnitError
from bayescg.units import plain

if TYPE_CHECKING:
    import mdtraj

__all__ = ["from_openmm", "load", "sources"]


def load(
    paths: Any,
    top: Any = None,
    temperature: Any = None,
    stride: int = 1,
    select: str | None = None,
    unit: str | None = None,
    *,
    dt: float | None = None,
    whole: bool = False,
    weights: Any = None,
    cache: str | os.PathLike[str] | None = None,
    memory_limit: int = 2**28,
) -> Frames:
    """Frames from trajectory files: whatever mdtraj reads (xtc, dcd, trr, h5, nc, pdb, ...), and ``.npy`` arrays.

    Each file is one trajectory. Files are read in chunks; decoded frames beyond `memory_limit` go to a memory-mapped
    file, so that memory stays flat however long the trajectories are.

    Parameters
    ----------
    paths : path, pattern, mdtraj.Trajectory, or list of these
        Trajectory files; a pattern (``"run*/*.xtc"``) stands for the files that match it, sorted. mdtraj counts frames
        where a format has no times: those of an ``mdtraj.Trajectory`` are trusted only if they are not whole ps.
    top : path, topology of mdtraj or OpenMM, mdtraj.Trajectory or Frames, optional
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
        are known to follow each other, but have no lag times; ``.npy`` frames are then independent draws. Times that
        are all the same (AMBER's NetCDF, often 0) say nothing either.
    whole : bool
        Make molecules whole that lie broken across the periodic box, put the large ones next to each other in its
        middle and the others around them (``mdtraj.Trajectory.image_molecules``); of a selection, the molecules that
        have an atom in it. Without it, broken molecules are refused. Bonds say what is a molecule.
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
    check_counts(memory_limit=(memory_limit, 0))
    check_flags(whole=whole)
    check_paths(**({} if cache is None else {"cache": cache}))
    if unit is not None and not isinstance(unit, str):
        raise UnitError(f"unit={unit!r} must be the name of a unit of length")
    trajectories = sources(paths)
    files = [source for source in trajectories if isinstance(source, Path)]
    full = topology_of(top, trajectories[0])
    topology, atoms = selection(full, select)
    names = [str(source) if isinstance(source, Path) else f"trajectory {k}" for k, source in enumerate(trajectories)]
    npy = len(files) == len(trajectories) and all(extension(path) == ".npy" for path in files)
    plain_array = npy and len(files) == 1 and unit in ("nm", "reduced") and stride == 1 and not whole
    if plain_array and select is None and cache is None:
        decoded = _mapped(files[0], topology, unit)
    else:

        def decode(directory: Path | None) -> Decoded:
            with Assembly(full, atoms, stride, memory_limit, directory, whole) as assembly:
                for source, name in zip(trajectories, names, strict=True):
                    assembly.add(name, chunks(source, full, unit), declared_unit(source, unit), known_step(source))
                return assembly.finish()

        if cache is not None and len(files) < len(trajectories):
            raise ConfigError("cache= keeps decoded files; an mdtraj.Trajectory is in memory already: leave it out")
        key = _key(files, full, stride, select, unit, whole)
        decoded = decode(None) if cache is None else _cached(Path(cache), key, decode)
    return decoded.frames(
        unit="reduced" if unit == "reduced" else "nm",
        ordered=not npy,
        dt=None if dt is None else dt * stride,
        topology=topology,
        temperature=temperature,
        weights=weights,
        provenance={
            "files": names,
            "reader": "numpy" if npy else "mdtraj",
            "select": select,
            "stride": stride,
            "unit": unit,
            "whole": whole,
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
    paths : path, pattern, or list of these
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
    return load(paths, topology, plain(temperature, "K"), stride, select, dt=plain(dt, "ps"), **options)


def sources(paths: Any) -> list[Source]:
    """The trajectories that `paths` of :func:`load` stands for, patterns replaced by what matches them."""
    alone = isinstance(paths, str | os.PathLike) or _is_loaded(paths)
    if not alone and not isinstance(paths, Iterable):
        raise DataError(f"the trajectories are a {type(paths).__name__}: give a path, a pattern, or a list of these")
    listed: Any = [paths] if alone else paths
    trajectories: list[Source] = []
    for entry in listed:
        if _is_loaded(entry):
            trajectories.append(entry)
        elif isinstance(entry, str | os.PathLike):
            trajectories += map(readable, _matching(entry))
        else:
            raise DataError(f"{entry!r} among the trajectories is no path: give paths, patterns or mdtraj.Trajectory")
    if not trajectories:
        raise DataError("no trajectory file given: the list of paths is empty (a pattern that matched nothing?)")
    resolved = [path.resolve() for path in trajectories if isinstance(path, Path)]
    for k, path in enumerate(resolved):
        if path in resolved[:k]:
            raise DataError(f"{path} is given twice: its frames would count double")
    return trajectories


def _is_loaded(entry: Any) -> bool:
    return hasattr(entry, "unitcell_lengths")  # of mdtraj


def _matching(path: Any) -> list[Any]:
    """The files that match a pattern, sorted; a path is its own match."""
    if Path(path).exists() or not glob.has_magic(os.fspath(path)):
        return [path]
    files = sorted(glob.glob(os.fspath(path), recursive=True))
    if not files:
        raise DataError(f"{path}: no file matches this pattern (looked from {Path.cwd()})")
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


def _key(files: list[Path], topology: Any, stride: int, select: str | None, unit: str | None, whole: bool) -> str:
    atoms = "" if topology is None else " ".join(map(str, [*topology.atoms, *topology.bonds]))
    stats = [(str(path.resolve()), path.stat().st_size, path.stat().st_mtime_ns) for path in files]
    return hashlib.blake2b(repr((2, stats, atoms, stride, select, unit, whole)).encode(), digest_size=12).hexdigest()
