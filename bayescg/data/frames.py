"""Frames: positions with everything that says what they are, and pairs of them a lag time apart."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from bayescg import units
from bayescg.arguments import check_counts, check_flags
from bayescg.data import frame_checks, split
from bayescg.data.bias import Bias
from bayescg.data.fingerprint import fingerprint
from bayescg.data.koopman import Koopman, koopman
from bayescg.data.lagged import Pairs
from bayescg.data.pairs import lagged_rows, steps_of
from bayescg.data.readers import geometry
from bayescg.data.readers.imaging import Imaging
from bayescg.data.rows import check_rows, take
from bayescg.data.segments import segments
from bayescg.data.store import computed
from bayescg.data.stretches import Stretches, stretches
from bayescg.errors import DataError
from bayescg.topologies import read_topology

if TYPE_CHECKING:
    import mdtraj

__all__ = ["Frames", "Pairs", "Stretches"]

_LEARNED = ("momenta", "forces", "energy", "labels", "commitments")
_EACH_FRAME = ("positions", "trajectory", "order", "times", "box", "weights", *_LEARNED, "draw", "bias", "koopman")


@dataclass(frozen=True, eq=False, kw_only=True, repr=False)
class Frames:
    """Frames of molecular dynamics, or draws of a toy system, checked at the door.

    Make them with :func:`bayescg.data.load` or :meth:`from_numpy`; both refuse what cannot be right.

    Parameters
    ----------
    positions : array, (n, atoms, 3) in nm, or (n, dim) in reduced units
        In memory, or on disk (a memory map); :meth:`gather` reads either.
    unit : {"nm", "reduced"}
        Unit of length.
    order : array of int, (n,), or None
        Place of a frame in its trajectory; None for independent draws. Ordered frames are correlated and are split
        in contiguous blocks, even where the time between them (`dt`) is not known.
    times : array, (n,), or None
        Times in ps (the system's own unit where reduced).
    dt : float or None
        Time between frames.
    box : array, (n, 3, 3), or None
        Box vectors in nm.
    weights : array, (n,), or None
        Importance weights, of which only the ratios count: all of them 2 is all of them 1. A frame of weight 2 counts
        twice in every average, as if it were there twice. Error bars tell the two apart: n weighted frames are worth
        (Σw)²/Σw² of them, whereas a copy passes for one more observation. Give weights, not copies.
    trajectory : array of int, (n,)
        Which trajectory a frame belongs to.
    momenta, forces : array like `positions`, or None
        In Da nm/ps and kJ/mol/nm, or the units of a toy system; in memory or on disk.
    energy : array, (n,), or None
        Potential energies in kJ/mol, or the unit of energy of a toy system; NaN where one is not known.
    labels : array of int, (n,), or None
        Class of each frame; -1 where it is not known.
    commitments : array of int, (n, regions), or None
        Of the trajectories shot from each frame, how many reached each region first; a row of zeros where none were.
    draw : array of int, (n,), or None
        Which draw of a posterior each frame is of, where several share one simulation, as atoms placed around its beads
        do. What draws of a potential were simulated with, each by itself, `provenance` tells; see
        :func:`bayescg.data.draw_of`.
    bias : Bias or None
        Of umbrella sampling: window and bias energies of each frame, which `weights` undo.
    koopman : Koopman or None
        Of trajectories that do not begin at equilibrium: what `weights` that lead there are made of.
    temperature : float or None
        Temperature in K.
    temperature_kT : float or None
        kT of a toy system, in its own unit of energy.
    topology : mdtraj.Topology or None
        Names, elements and bonds of the atoms.
    masses : array, (atoms,) or (dim,), or None
        Of atoms in dalton, or of each coordinate where reduced; None where they are not known.
    provenance : mapping
        Files, reader, selection and versions that the frames came from.

    Examples
    --------
    >>> frames = Frames.from_numpy(np.zeros((6, 2)), unit="reduced", dt=0.5, temperature_kT=1.0)
    >>> len(frames), frames.dim, frames.kT, frames[2:].times
    (6, 2, 1.0, array([1. , 1.5, 2. , 2.5]))
    """

    positions: Any
    unit: str
    trajectory: np.ndarray
    order: np.ndarray | None = None
    times: np.ndarray | None = None
    dt: float | None = None
    box: np.ndarray | None = None
    weights: np.ndarray | None = None
    momenta: Any = None
    forces: Any = None
    energy: np.ndarray | None = None
    labels: np.ndarray | None = None
    commitments: np.ndarray | None = None
    draw: np.ndarray | None = None
    bias: Bias | None = None
    koopman: Koopman | None = None
    temperature: float | None = None
    temperature_kT: float | None = None
    topology: "mdtraj.Topology | None" = None
    masses: np.ndarray | None = None
    provenance: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def from_numpy(
        cls,
        x: Any,
        *,
        unit: str | None = None,
        dt: float | None = None,
        temperature: float | None = None,
        temperature_kT: float | None = None,
        weights: Any = None,
        trajectory: Any = None,
        box: Any = None,
        momenta: Any = None,
        masses: Any = None,
        forces: Any = None,
        energy: Any = None,
        labels: Any = None,
        commitments: Any = None,
        bias: Bias | None = None,
        topology: Any = None,
        whole: bool = False,
        energy_unit: str = "kJ/mol",
        source: str = "array",
    ) -> "Frames":
        """Frames from an array.

        Parameters
        ----------
        x : array, (n, atoms, 3), (n, 3 * atoms), or (n, dim) where reduced
            Positions; float64 is kept, everything else becomes float32.
        unit : str
            ``"nm"``, ``"angstrom"``, ... or ``"reduced"`` for toy systems; there is no default.
        dt : float, optional
            Time between frames in ps, or an OpenMM quantity. Without it the frames have no time axis: they are
            independent draws, unless neighbours are so much alike that averages see that they follow each other.
        temperature, temperature_kT : float, optional
            Temperature in K, or an OpenMM quantity; or kT of a toy system.
        weights : array, (n,), optional
            Importance weights, of which only the ratios count; see `Frames`.
        trajectory : array of int, (n,), optional
            Which trajectory each frame belongs to, in runs; one trajectory if not given.
        box : array, (3, 3) or (n, 3, 3), optional
            Box vectors, in `unit`.
        momenta : array of the shape of `x`, optional
            In dalton times `unit` per ps, or the toy system's own unit.
        masses : array, (atoms,), or (dim,) where reduced, optional
            In dalton. Not given, atoms with `momenta` have those of their elements in `topology`.
        forces : array of the shape of `x`, optional
            In `energy_unit` per `unit` of length (``unit="angstrom"``: kJ/mol/angstrom), or energy per length where
            reduced.
        energy : array, (n,), optional
            Potential energies in `energy_unit`, or in the unit of kT where reduced; NaN where not known.
        labels : array of int, (n,), optional
            Class of each frame, counted from 0; -1 where not known.
        commitments : array of int, (n, regions), optional
            Of the trajectories shot from each frame, how many reached each region first.
        bias : Bias, optional
            Windows of umbrella sampling, in place of `weights`, which are then those of MBAR.
        topology : topology of mdtraj or OpenMM, or path, optional
            Turns on the checks of bond lengths.
        whole : bool
            Make molecules whole that lie broken across the box, as :func:`bayescg.data.load` does.
        energy_unit : {"kJ/mol", "kcal/mol", "hartree"}
            Unit of `energy`, and of energy in `forces`; of no meaning where reduced.
        source : str
            What to call the array in messages.

        Raises
        ------
        UnitError
            `unit` is missing, unknown, or contradicted by the bond lengths.
        TopologyError
            The topology has other atoms.
        DataError
            Anything else that cannot be right: not finite, empty, weights, forces, energies, labels or commitments that
            do not fit, broken molecules.
        ConfigError
            `whole` is neither True nor False.

        Examples
        --------
        >>> water = [[[0.0, 0.0, 0.0], [0.96, 0.0, 0.0], [-0.24, 0.93, 0.0]]]
        >>> Frames.from_numpy(water, unit="angstrom").positions[0, 1]
        array([0.096, 0. , 0. ], dtype=float32)
        """
        check_flags(whole=whole)
        factor = frame_checks.unit_factor(unit)
        joules = 1.0 if unit == "reduced" else units.energy_factor(energy_unit)
        topology = None if topology is None else read_topology(topology)[0]
        positions = frame_checks.numbers(x, source)
        if positions.dtype not in (np.float32, np.float64):
            positions = positions.astype(np.float32)
        positions = frame_checks.shaped(positions, unit, topology, source)
        if factor != 1.0:
            positions = np.asarray(positions * positions.dtype.type(factor))
        n = len(positions)
        vectors = frame_checks.box_vectors(box, n, factor, source)
        if whole:
            positions = Imaging(topology)(positions, vectors, source)
        geometry.scan(positions, source=source, unit=str(unit), topology=topology, box=vectors, imaged=whole)
        index = frame_checks.trajectory_index(trajectory, n)
        step = frame_checks.positive(units.plain(dt, "ps"), "dt", "ps")
        order = None if step is None else frame_checks.places(index)
        times = None if order is None or step is None else computed(n, lambda rows: order[rows] * step)
        return cls(
            positions=positions,
            unit="reduced" if unit == "reduced" else "nm",
            trajectory=index,
            order=order,
            times=times,
            dt=step,
            box=vectors,
            weights=frame_checks.valid_weights(frame_checks.unbiased(weights, bias, n), n),
            bias=bias,
            momenta=frame_checks.valid_vectors(momenta, positions, 1 / factor, f"{source}, momenta"),
            masses=frame_checks.valid_masses(masses, positions, None if momenta is None else topology, source),
            forces=frame_checks.valid_vectors(forces, positions, factor / joules, f"{source}, forces"),
            energy=frame_checks.valid_energy(energy, n, joules, source),
            labels=frame_checks.valid_labels(labels, n),
            commitments=frame_checks.valid_commitments(commitments, n),
            temperature=frame_checks.positive(units.plain(temperature, "K"), "temperature", "K"),
            temperature_kT=frame_checks.positive(temperature_kT, "temperature_kT", "kT"),
            topology=topology,
            provenance={"source": source, "reader": "numpy", "unit": unit},
        )

    def __repr__(self) -> str:
        shape = " x ".join(map(str, self.positions.shape))
        runs = len(np.unique(self.trajectory))
        time = "no time axis" if self.dt is None else f"dt={self.dt:g}"
        if self.dt is not None and self.order is not None and (gap := split.spacing(self.order)) > 1:
            time += f", one in {gap} kept"
        return f"Frames({shape}, {self.unit}, {runs} trajector{'y' if runs == 1 else 'ies'}, {time})"

    def __len__(self) -> int:
        return len(self.positions)

    def __getitem__(self, index: Any) -> "Frames":
        return self.subset([index] if isinstance(index, int | np.integer) else index)

    def __iter__(self) -> Iterator["Frames"]:
        return (self[k] for k in range(len(self)))

    @property
    def dim(self) -> int:
        """Number of coordinates of a frame."""
        return int(np.prod(self.positions.shape[1:]))

    @property
    def kT(self) -> float:
        """Thermal energy: kJ/mol, or the unit of a toy system."""
        if self.temperature_kT is not None:
            return self.temperature_kT
        if self.temperature is None:
            raise DataError("the temperature of these frames is not known: give temperature= (K) where they are loaded")
        return units.kT(self.temperature)

    def gather(self, index: Any, field: str = "positions") -> np.ndarray:
        """Positions (or another field) of the frames `index`, (m, ...), copied into memory.

        Examples
        --------
        >>> Frames.from_numpy([[0.0], [1.0], [2.0]], unit="reduced").gather([2, 0]).ravel()
        array([2., 0.], dtype=float32)
        """
        if (values := getattr(self, field, None)) is None:
            raise DataError(f"these frames have no {field}: give them where the frames are made")
        try:
            return np.array(values[index], subok=False)
        except (IndexError, TypeError, ValueError):
            check_rows(index, len(self))
            raise

    def subset(self, index: Any) -> "Frames":
        """The frames `index` (a slice, integers, or a mask); frames on disk stay there."""
        check_rows(index, len(self))
        columns = {name: a for name in _EACH_FRAME if (a := getattr(self, name)) is not None}
        lazy = ("positions", "momenta", "forces")
        part = replace(self, **{name: take(a, index) if name in lazy else a[index] for name, a in columns.items()})
        if len(part) == 0:
            raise DataError(f"an empty selection of {len(self)} frames")
        return part if len(part) == len(self) else replace(part, weights=frame_checks.reweighed(part))

    def first(self, time: float) -> "Frames":
        """The first `time` (ps) of every trajectory.

        Examples
        --------
        >>> len(Frames.from_numpy(np.zeros((10, 1)), unit="reduced", dt=0.5).first(2.0))
        4
        """
        if self.times is None or self.dt is None:
            raise DataError("these frames have no time axis, so there is no first part: give dt= where they are loaded")
        return self.subset(split.beginnings(self.trajectory, self.times, self.dt, time))

    def lagged(self, lag: float) -> "Pairs":
        """All pairs of frames `lag` (ps) apart, never across a trajectory's end.

        Raises
        ------
        DataError
            `lag` is not a multiple of `dt` (the message names the nearest), no trajectory is that long, or there is
            no time axis.

        Examples
        --------
        >>> frames = Frames.from_numpy(np.zeros((6, 1)), unit="reduced", dt=1.0, trajectory=[0, 0, 0, 1, 1, 1])
        >>> frames.lagged(2.0).i
        array([0, 3])
        """
        if self.dt is None or self.order is None:
            raise DataError("these frames have no time axis, so there is no lag: give dt= where they are loaded")
        steps = steps_of(lag, self.dt)
        now, later = lagged_rows(self.trajectory, self.order, steps)
        if len(now) == 0:
            longest = int(np.diff(np.r_[frame_checks.run_starts(self.trajectory), len(self)]).max())
            if steps % (gap := split.spacing(self.order)):
                raise DataError(
                    f"no two frames are {lag:g} apart: one in {gap} was kept, {gap * self.dt:g} after the one before; "
                    f"use a multiple of that as lag, or all frames"
                )
            raise DataError(
                f"no two frames are {lag:g} apart: the longest trajectory has {longest} frames, "
                f"{gap * self.dt:g} apart; use a shorter lag or longer trajectories"
            )
        return Pairs(now, later, steps * self.dt, self)

    def stretches(self, lag: float | None = None, length: int = 200) -> "Stretches":
        """Whole trajectories in rows of about `length` frames, each `lag` (ps; the time between them) after another.

        All frames are in some row: of a lag of several frames there are rows for every shift. None reaches across a
        trajectory's end or a gap.

        Raises
        ------
        DataError
            `lag` is not a multiple of `dt` (the message names the nearest), no trajectory is that long, or there is
            no time axis.
        ConfigError
            `length` is no whole number of at least two.

        Examples
        --------
        >>> frames = Frames.from_numpy(np.zeros((6, 1)), unit="reduced", dt=1.0, trajectory=[0, 0, 0, 1, 1, 1])
        >>> frames.stretches().index
        array([[0, 1, 2],
               [3, 4, 5]])
        """
        check_counts(length=(length, 2))
        return stretches(self, lag, length)

    def segments(self) -> "Frames":
        """Frames of :func:`bayescg.sampling.umbrella` as trajectories of one replica under one bias, with a time axis.

        They end where windows are exchanged, whether that was accepted or not. Their pairs a lag apart are of the
        biased dynamics, which :class:`bayescg.models.EffectiveDynamics` undoes.

        Raises
        ------
        DataError
            The frames are of something else, or fewer than two were kept from one exchange to the next.
        """
        return segments(self)

    def equilibrium(self, basis: Any, lag: float) -> "Frames":
        r"""The same frames with equilibrium weights, of trajectories that begin anywhere.

        A weight :math:`w(x) = \sum_k u_k \phi_k(x)` in the span of functions, of the frames from which trajectories go
        on for a lag :math:`\tau`, is such that no average of these functions changes in the lag,
        :math:`E[w(x_t) \phi_l(x_{t+\tau})] = E[w(x_t) \phi_l(x_t)]`. Analyses of the frames then respect the weights:
        averages, free energies, spectra and committors, each of whose draws solves for u again under random weights
        of whole trajectories. `koopman` of the result says how far the weights are to be trusted.

        Parameters
        ----------
        basis : Fit, Model or callable
            A fit whose model has a ``basis``, or a function from positions to (n, functions). Ten functions or more:
            the slow eigenfunctions alone leave a bias. Their mean is taken off and one is added.
        lag : float
            :math:`\tau` (ps, or the unit of a toy system), long enough that what the functions leave out is forgotten,
            and at most a tenth of the trajectories.

        Returns
        -------
        Frames
            Negative weights, of which there are few, are zero in `weights`, and themselves in the draws of analyses.

        Raises
        ------
        DataError
            Fewer than ten trajectories are longer than the lag; weights that are undetermined or largely negative;
            frames with weights or without a time axis; functions that are not finite or do not vary.
        ConfigError
            There is no basis.

        References
        ----------
        Wu, Nüske, Paul, Klus, Koltai, Noé, "Variational Koopman models", J. Chem. Phys. 146, 154104 (2017).

        Examples
        --------
        >>> import bayescg as bcg, torch
        >>> starts = np.full((100, 1), 1.0)  # all in the right well, of two
        >>> frames = bcg.sampling.overdamped(bcg.systems.QuarticDoubleWell(), 400, dt=0.01, starts=starts, stride=5)
        >>> steps = lambda x: torch.tanh((x - torch.linspace(-1.7, 1.7, 12)) / 0.4)
        >>> weighted = frames.equilibrium(steps, lag=0.2)
        >>> left = frames.positions[:, 0] < 0
        >>> print(left.mean().round(1), (weighted.weights[left].sum() / weighted.weights.sum()).round(1))
        0.3 0.5
        """
        weighing = koopman(self, basis, lag)
        return replace(self, weights=np.maximum(weighing.weights(), 0.0), koopman=weighing)

    def blocks(self, length: int) -> np.ndarray:
        """Block ids, (n,): contiguous blocks of about `length` frames, never across a trajectory's end or a gap.

        Examples
        --------
        >>> Frames.from_numpy(np.zeros((6, 1)), unit="reduced", dt=1.0, trajectory=[0, 0, 0, 0, 1, 1]).blocks(2)
        array([0, 0, 1, 1, 2, 2])
        """
        return split.blocks(self.trajectory, self.order, length)

    def split(self, blocks: int = 20, test: float = 0.2, seed: int = 0) -> tuple["Frames", "Frames"]:
        """Frames to fit and frames to test on.

        Ordered frames are split in contiguous blocks inside trajectories, because a frame's neighbours in time give it
        away; independent draws are split one by one.

        Parameters
        ----------
        blocks : int
            About how many blocks to cut the data into.
        test : float
            Fraction of the frames to test on, in (0, 1).
        seed : int
            Which blocks.

        Returns
        -------
        train, test : Frames

        Examples
        --------
        >>> train, test = Frames.from_numpy(np.zeros((100, 1)), unit="reduced", dt=1.0).split(blocks=10)
        >>> len(train), len(test), np.unique(test.blocks(10)).size
        (80, 20, 2)
        """
        held_out = split.held_out(self.trajectory, self.order, blocks, test, seed)
        return self.subset(~held_out), self.subset(held_out)

    def fingerprint(self) -> str:
        """A short digest of what the frames are: shape, type, unit, weights and (a sample of) the numbers.

        What else there is beside positions counts, too.

        Examples
        --------
        >>> a, b = (Frames.from_numpy([[x], [1.0]], unit="reduced") for x in (0.0, 0.5))
        >>> a.fingerprint() == a.fingerprint(), a.fingerprint() == b.fingerprint()
        (True, False)
        """
        return fingerprint(self)
