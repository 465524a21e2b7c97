"""One trajectory file at a time, chunk by chunk: mdtraj's formats and NumPy arrays."""

import struct
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from tokenize import TokenError
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from bayescg import units
from bayescg.data import frame_checks
from bayescg.data.readers.hdf5 import hdf5_parts
from bayescg.errors import DataError, TopologyError, UnitError
from bayescg.topologies import one_line, read_topology

if TYPE_CHECKING:
    import mdtraj

__all__ = [
    "Chunk",
    "Source",
    "chunks",
    "dcd_header",
    "declared_unit",
    "existing",
    "extension",
    "known_step",
    "open_array",
    "readable",
    "topology_of",
]

WITH_TIMES = {".xtc", ".trr", ".h5", ".hdf5", ".lh5", ".nc", ".netcdf", ".ncdf", ".dtr"}
IN_NANOMETRES = {".xtc", ".trr", ".h5", ".hdf5", ".lh5", ".gro"}
ONE_FRAME = {".mol2", ".inpcrd", ".restrt", ".rst7", ".ncrst"}
BY_H5PY = {".h5", ".hdf5"}
CHUNK_BYTES = 2**24
AKMA = 0.04888821
"""ps per unit of time of the DCD format."""


Source: TypeAlias = "Path | mdtraj.Trajectory"
"""A trajectory: a file, or what mdtraj has loaded."""


@dataclass
class Chunk:
    """Consecutive frames of a file: `positions` in nm (as they are where reduced), `times` in ps, `box` in nm."""

    positions: np.ndarray
    times: np.ndarray | None = None
    box: np.ndarray | None = None


def extension(path: Path) -> str:
    """A file name's extension in lower case, ``.pdb.gz`` included.

    Examples
    --------
    >>> extension(Path("run.1/A.PDB.gz"))
    '.pdb.gz'
    """
    suffixes = [s.lower() for s in path.suffixes]
    return "".join(suffixes[-2:]) if suffixes[-1:] == [".gz"] else "".join(suffixes[-1:])


def existing(path: Any) -> Path:
    """`path`, which must be a file (or the directory that a .dtr trajectory is)."""
    path = Path(path)
    if not path.exists():
        raise DataError(f"{path}: no such file (looked in {path.resolve().parent})")
    if path.is_dir() and extension(path) != ".dtr":
        raise DataError(
            f"{path} is a directory: give the trajectory files in it, for instance by a pattern, '{path}/*.xtc'"
        )
    return path


def readable(path: Any) -> Path:
    """`path`, which must be a file of a known format."""
    path = existing(path)
    kind = extension(path)
    if kind != ".npy":
        import mdtraj  # noqa: F401 - its formats are registered by the import
        from mdtraj.formats.registry import FormatRegistry

        if kind not in FormatRegistry.loaders:
            formats = ", ".join(sorted([".npy", *FormatRegistry.loaders]))
            raise DataError(
                f"{path}: no reader for files that end in {kind or 'nothing'}; known are {formats} (MDAnalysis knows "
                "more: bcg.data.from_mdanalysis)"
            )
    return path


def topology_of(top: Any, first: "Source") -> "mdtraj.Topology | None":
    """The topology that `top` gives, or the one that the first of the trajectories carries."""
    import mdtraj
    from mdtraj.core.trajectory import _TOPOLOGY_EXTS

    if top is not None or isinstance(first, mdtraj.Trajectory):
        return read_topology(first if top is None else top)[0]
    if extension(first) == ".npy":
        return None
    if extension(first) not in _TOPOLOGY_EXTS:
        raise TopologyError(
            f"{first} holds coordinates only: give top=, a file with the atoms (.pdb, .gro, .prmtop, ...)"
        )
    return read_topology(first)[0]


def chunks(source: "Source", topology: "mdtraj.Topology | None", unit: str | None) -> Iterator[Chunk]:
    """The frames of one trajectory, a few megabytes at a time.

    `unit` says what the numbers in a file are, against the convention of its format; None trusts the format.
    """
    if not isinstance(source, Path):
        yield from _in_memory(source, topology)
    elif extension(source) == ".npy":
        yield from _numpy_chunks(source, topology, unit)
    else:
        assert topology is not None
        yield from _mdtraj_chunks(source, topology, unit)


def declared_unit(source: "Source", unit: str | None) -> str:
    """What the numbers in a trajectory are taken to be.

    Examples
    --------
    >>> declared_unit(Path("a.dcd"), None), declared_unit(Path("a.dcd"), "nm")
    ('angstrom', 'nm')
    """
    return unit or ("nm" if not isinstance(source, Path) or extension(source) in IN_NANOMETRES else "angstrom")


def known_step(source: "Source") -> float | None:
    """Time between frames (ps) that the head of a file tells, where its frames carry no times."""
    return dcd_header(source)[1] if isinstance(source, Path) and extension(source) == ".dcd" else None


def open_array(path: Path, topology: "mdtraj.Topology | None", unit: str | None) -> np.ndarray:
    """The array in an ``.npy`` file, (n, atoms, 3) or (n, dim), left on disk."""
    if unit is None:
        raise UnitError(f'{path}: an .npy file does not say its unit: give unit="nm", "angstrom", ... or "reduced"')
    units.length_factor(unit)
    try:
        array = np.load(path, mmap_mode="r", allow_pickle=False)
    except (ValueError, OSError, EOFError, SyntaxError, TokenError) as error:
        raise DataError(f"{path}: not a readable array of numbers, or cut short: {one_line(error)}") from error
    if not isinstance(array, np.ndarray) or array.dtype not in (np.float32, np.float64):
        raise DataError(f"{path}: holds {getattr(array, 'dtype', type(array))}, not an array of float32 or float64")
    return frame_checks.shaped(array, unit, topology, str(path))


def _numpy_chunks(path: Path, topology: "mdtraj.Topology | None", unit: str | None) -> Iterator[Chunk]:
    array = open_array(path, topology, unit)
    factor = array.dtype.type(units.length_factor(str(unit)))
    step = max(1, CHUNK_BYTES // (array.dtype.itemsize * int(np.prod(array.shape[1:]))))
    for start in range(0, len(array), step):
        yield Chunk(np.array(array[start : start + step], subok=False) * factor)


def _in_memory(loaded: Any, topology: "mdtraj.Topology | None") -> Iterator[Chunk]:
    """What mdtraj has loaded; times in whole ps may be numbers of frames, as it counts where a file has no times."""
    assert topology is not None
    frame_checks.check_atoms(loaded.n_atoms, topology, "the mdtraj.Trajectory")
    times = None if np.array_equal(loaded.time, np.round(loaded.time)) else loaded.time
    box = _readable_box(loaded, "the mdtraj.Trajectory")
    for start in range(0, len(loaded), step := max(1, CHUNK_BYTES // (12 * loaded.n_atoms))):
        rows = slice(start, start + step)
        yield Chunk(loaded.xyz[rows], times if times is None else times[rows], box if box is None else box[rows])


def _mdtraj_chunks(path: Path, topology: "mdtraj.Topology", unit: str | None) -> Iterator[Chunk]:
    import mdtraj
    from mdtraj.core.trajectory import _TOPOLOGY_EXTS

    kind = extension(path)
    factor = units.length_factor(declared_unit(path, unit)) / units.length_factor(declared_unit(path, None))
    options: dict[str, Any] = {} if kind in _TOPOLOGY_EXTS else {"top": topology}
    frames = 0 if kind in ONE_FRAME else max(1, CHUNK_BYTES // (12 * topology.n_atoms))
    read = 0
    source: Iterator[Any] = (
        hdf5_parts(path, topology, frames) if kind in BY_H5PY else mdtraj.iterload(str(path), chunk=frames, **options)
    )
    while True:
        part, failure = None, None
        with warnings.catch_warnings():
            # mdtraj's advice on faster packages is not about the user's data, and a file that it cannot parse it
            # leaves open: the end of the except block closes it
            warnings.simplefilter("ignore")
            try:
                part = next(source, None)
            except DataError as error:
                failure = error
            except Exception as error:
                failure = _unreadable(path, topology, read, error)
        if failure is not None:
            raise failure
        if part is None:
            break
        frame_checks.check_atoms(part.n_atoms, topology, str(path))
        read += len(part)
        box = _readable_box(part, path)
        yield Chunk(
            positions=part.xyz if factor == 1.0 else part.xyz * np.float32(factor),
            times=part.time if kind in WITH_TIMES else None,
            box=None if box is None else (box * factor).astype(np.float32),
        )
    promised = dcd_header(path)[0] if kind == ".dcd" else 0
    if read < promised and not _ends_with_a_frame(path, read):
        raise DataError(
            f"{path}: cut short or damaged: its header promises {promised} frames, {read} are whole; copy it again, "
            "or rewrite the frames that are there (mdconvert, catdcd)"
        )
    if read < promised:
        warnings.warn(
            f"{path}: its header promises {promised} frames, {read} are there, the last of them whole: a simulation "
            "that ended early leaves such a file",
            stacklevel=2,
        )


def _readable_box(part: Any, source: Any) -> np.ndarray | None:
    """Box vectors, (n, 3, 3); None where there are none, or only the zeros that stand for none."""
    if part.unitcell_lengths is None or not part.unitcell_lengths.any():
        return None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what it warns of is refused below
        box = part.unitcell_vectors
    with np.errstate(invalid="ignore"):
        flat = ~(np.linalg.det(box) > 0.1 * part.unitcell_lengths.prod(axis=1))
    if flat.any():
        frame = int(np.argmax(flat))
        raise DataError(
            f"{source}: a periodic box with edges {part.unitcell_lengths[frame]} nm and angles "
            f"{part.unitcell_angles[frame]} degrees has no volume: mdtraj does not know how this file writes its boxes "
            "(CHARMM 36, triclinic): read it with MDAnalysis and bcg.data.from_mdanalysis(universe)"
        )
    return box


def _ends_with_a_frame(path: Path, frames: int) -> bool:
    """Whether a DCD file ends where its last frame does: a copy that was cut short hardly does."""
    order = "<" if _head(path)[:4] == struct.pack("<i", 84) else ">"
    size, end, records = path.stat().st_size, 0, 0
    with path.open("rb") as file:
        while end < size:
            file.seek(end)
            mark = file.read(4)
            length = struct.unpack(order + "i", mark)[0] if len(mark) == 4 else size
            if length < 0:
                return False
            end += 8 + length
            records += 1
    return end == size and frames > 0 and (records - 3) % frames == 0


def dcd_header(path: Path) -> tuple[int, float | None]:
    """Number of frames that a DCD file promises, and the time between them (ps) where its writer knew it.

    mdtraj and VMD write a time step of exactly 1, which means nothing; OpenMM, NAMD and CHARMM write the real one.
    """
    head = _head(path)
    if len(head) < 48 or head[4:8] != b"CORD":
        return 0, None
    order = "<" if head[:4] == struct.pack("<i", 84) else ">"
    frames, _, interval = struct.unpack(order + "3i", head[8:20])
    (step,) = struct.unpack(order + "f", head[44:48])
    stated = step > 0 and step != 1.0 and interval > 0
    return frames, float(f"{interval * step * AKMA:.6g}") if stated else None


def _head(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(48)


def _unreadable(path: Path, topology: "mdtraj.Topology", read: int, error: Exception) -> DataError:
    if isinstance(error, ImportError):
        return DataError(f"{path}: its format needs a package that is not installed: {one_line(error)}")
    atoms = None if extension(path) in BY_H5PY else _atoms(path)
    if atoms is not None and atoms != topology.n_atoms:
        try:
            frame_checks.check_atoms(atoms, topology, str(path))
        except TopologyError as mismatch:
            return mismatch
    return DataError(
        f"{path}: cannot be read after frame {read}: {one_line(error)}. The file is cut short, damaged or of another "
        "format than its name says; copy it again, or rewrite the frames that are whole (gmx trjconv, mdconvert)"
    )


def _atoms(path: Path) -> int | None:
    import mdtraj

    try:
        with mdtraj.open(str(path)) as file:
            first = file.read(1)
        return (first if isinstance(first, np.ndarray) else first[0]).shape[1]
    except Exception:
        return None
