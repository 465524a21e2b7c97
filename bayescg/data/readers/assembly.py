"""Frames put together from several sources, each one trajectory, chunk by chunk."""

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from bayescg.data import frame_checks
from bayescg.data.frames import Frames
from bayescg.data.readers.files import Chunk
from bayescg.data.readers.geometry import Scan
from bayescg.data.readers.imaging import Imaging, with_their_molecules
from bayescg.data.store import Store, computed
from bayescg.errors import ConfigError, DataError, TopologyError

if TYPE_CHECKING:
    import mdtraj

__all__ = ["Assembly", "Decoded", "Part", "selection"]


@dataclass
class Part:
    """One trajectory: its source, number of frames kept, first time and time between kept frames (ps), if known."""

    source: str
    frames: int
    start: float = 0.0
    dt: float | None = None


@dataclass
class Decoded:
    """Decoded frames of several trajectories, in memory or on disk."""

    positions: np.ndarray
    box: np.ndarray | None
    parts: list[Part]

    @classmethod
    def read(cls, directory: Path) -> "Decoded":
        """What :meth:`Assembly.finish` left in `directory`."""
        try:
            parts = [Part(**part) for part in json.loads((directory / "parts.json").read_text())]
            positions, box = (
                np.load(path, mmap_mode="r", allow_pickle=False) if path.exists() else None
                for path in (directory / "positions.npy", directory / "box.npy")
            )
        except (OSError, ValueError, TypeError) as error:
            raise DataError(f"{directory}: the cached frames are damaged ({error}): delete this directory") from error
        if positions is None or len(positions) != sum(part.frames for part in parts):
            raise DataError(f"{directory}: the cached frames are not complete: delete this directory")
        return cls(positions, box, parts)

    def frames(
        self,
        *,
        unit: str,
        ordered: bool,
        dt: float | None = None,
        topology: "mdtraj.Topology | None" = None,
        temperature: Any = None,
        weights: Any,
        provenance: Mapping[str, Any],
    ) -> Frames:
        """`Frames` of what was decoded; `dt` is the time between kept frames, for sources that do not know it."""
        trajectory = np.repeat(np.arange(len(self.parts), dtype=np.int32), [part.frames for part in self.parts])
        step = self._step(dt)
        order = frame_checks.places(trajectory) if ordered or step is not None else None
        times = None
        if order is not None and step is not None:
            began = np.array([part.start for part in self.parts])
            times = computed(len(order), lambda rows: began[trajectory[rows]] + order[rows] * step)
        box = self.box
        if box is not None and (box == box[0]).all():
            box = np.broadcast_to(np.array(box[0]), box.shape)
        return Frames(
            positions=self.positions,
            unit=unit,
            trajectory=trajectory,
            order=order,
            times=times,
            dt=step,
            box=box,
            weights=frame_checks.valid_weights(weights, len(trajectory)),
            temperature=None if unit == "reduced" else frame_checks.positive(temperature, "temperature", "K"),
            temperature_kT=frame_checks.positive(temperature, "temperature", "kT") if unit == "reduced" else None,
            topology=topology,
            provenance=provenance,
        )

    def _step(self, dt: float | None) -> float | None:
        explicit = frame_checks.positive(dt, "dt", "ps")
        spacings = {part.source: part.dt for part in self.parts if part.dt is not None}
        step = explicit if explicit is not None else next(iter(spacings.values()), None)
        for source, spacing in spacings.items():
            if step is not None and abs(spacing - step) > 1e-4 * step:
                other = "dt= gives" if explicit is not None else f"{next(iter(spacings))} has"
                raise DataError(
                    f"{source}: its frames are {spacing:g} ps apart, {other} {step:g} ps: load files of one spacing "
                    "(stride= the finer ones apart), since lag times count frames"
                )
        unknown = [part.source for part in self.parts if part.dt is None and part.frames > 1]
        if spacings and explicit is None and unknown:
            raise DataError(f"{unknown[0]} carries no times, {next(iter(spacings))} does: give dt= (ps between frames)")
        return step


class Assembly:
    """Takes trajectories one after the other, checks them, and keeps the selected frames and atoms.

    In a ``with`` block, an error drops what was added, temporary files included.

    Parameters
    ----------
    topology : mdtraj.Topology or None
        Of the sources.
    atoms : array of int or None
        Which atoms of each source to keep; None for all. The checks look at all of the molecules that they are of.
    stride : int
        Keep every `stride`-th frame.
    memory_limit : int
        Bytes of decoded frames to hold in memory.
    directory : path, optional
        Write decoded frames there from the start.
    whole : bool
        Make molecules whole.
    """

    def __init__(
        self,
        topology: "mdtraj.Topology | None",
        atoms: np.ndarray | None,
        stride: int,
        memory_limit: int = 2**28,
        directory: Path | None = None,
        whole: bool = False,
    ) -> None:
        if not isinstance(stride, int | np.integer) or stride < 1:
            raise ConfigError(f"stride={stride!r}: keep every frame (1) or every k-th (k)")
        self.stride, self.directory = int(stride), directory
        self.topology, self.checked, self.atoms = topology, None, atoms
        if topology is not None and atoms is not None:
            self.checked = with_their_molecules(topology, atoms)
            self.atoms = np.searchsorted(self.checked, atoms)
            self.topology = topology.subset(self.checked.tolist())
        self.image = Imaging(self.topology) if whole else None
        names = ("positions.npy", "box.npy")
        self.positions, self.boxes = (
            Store(None if directory is None else directory / name, memory_limit) for name in names
        )
        self.parts: list[Part] = []

    def add(self, source: str, chunks: Iterable[Chunk], unit: str, dt: float | None = None) -> None:
        """One trajectory; `dt` is the time between its frames (before `stride`) where its chunks carry no times."""
        look = Scan(source, unit, self.topology, self.stride, self.image is not None)
        times, read, before = [], 0, self.positions.rows
        for chunk in chunks:
            keep = slice(-read % self.stride, None, self.stride)
            read += len(chunk.positions)
            if chunk.times is not None:
                times.append(np.asarray(chunk.times))
            x = chunk.positions[keep]
            if len(x) == 0:
                continue
            if self.checked is not None:
                x = x[:, self.checked]
            box = None if chunk.box is None else chunk.box[keep]
            if self.image is not None:
                x = self.image(x, box, source)
            look(x, box)
            if self.atoms is not None:
                x = x[:, self.atoms]
            if self.positions.rows and x.shape[1:] != self.positions.shape:
                raise TopologyError(
                    f"{source} has frames of {x.shape[1]} atoms (or coordinates), {self.parts[0].source} of "
                    f"{self.positions.shape[0]}: load files of one system, or select= what they share"
                )
            self.positions.append(x)
            if box is not None:
                self.boxes.append(box)
            if self.boxes.rows not in (0, self.positions.rows):
                raise DataError(f"{source}: some frames have a periodic box and others do not: load them apart")
        look.finish()
        if read == 0:
            raise DataError(
                f"{source}: the trajectory is empty: the simulation saved no frame, or the file is cut short"
            )
        clock = np.concatenate(times) if times else np.zeros(0)
        start, step = 0.0, dt
        if len(np.unique(clock)) > 1:  # a clock that stands still tells nothing
            start, step = frame_checks.time_axis(clock, source)
        elif len(clock) == 1:
            start = float(clock[0])
        frames = self.positions.rows - before
        self.parts.append(Part(source, frames, start, None if step is None else step * self.stride))

    def finish(self) -> Decoded:
        """Everything that was added."""
        positions = self.positions.finish()
        box = self.boxes.finish() if self.boxes.rows else None
        if self.directory is not None:
            (self.directory / "parts.json").write_text(json.dumps([asdict(part) for part in self.parts], indent=1))
        return Decoded(positions, box, self.parts)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is not None:
            self.positions.abandon()
            self.boxes.abandon()


def selection(topology: "mdtraj.Topology | None", select: str | None) -> "tuple[Any, np.ndarray | None]":
    """The topology of the atoms that `select` (mdtraj's language) chooses, and their indices.

    Raises
    ------
    DataError
        The selection cannot be parsed, or chooses no atom.
    """
    if select is None:
        return topology, None
    if topology is None:
        raise TopologyError(f"select={select!r} needs the atoms' names: give top=")
    try:
        atoms = topology.select(select)
    except Exception as error:
        raise DataError(
            f"select={select!r} is not in mdtraj's selection language (example: 'name CA'): {error}"
        ) from error
    if len(atoms) == 0:
        raise DataError(
            f"select={select!r} chooses none of {topology.n_atoms} atoms; residues are "
            f"{', '.join(sorted({r.name for r in topology.residues})[:8])}"
        )
    return topology.subset(atoms.tolist()), atoms
