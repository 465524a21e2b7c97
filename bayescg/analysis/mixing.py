"""Whether replicas of umbrella sampling mixed along their ladder, without which its free energies mean nothing."""

from dataclasses import dataclass
from math import gcd

import numpy as np

from bayescg.data import Frames, mbar, overlap, round_trips
from bayescg.data.rungs import LITTLE_OVERLAP
from bayescg.errors import DataError

__all__ = ["Mixing", "mixing", "unmixed"]

_LOW, _HIGH = 0.1, 0.9
_TRIPS = 2
_ENOUGH = 100_000


@dataclass(frozen=True)
class Mixing:
    """How replicas and windows of umbrella sampling hang together.

    Attributes
    ----------
    overlap : ndarray, shape (windows - 1,)
        Of each window with the next: of the overlap matrix, the smaller of the two elements.
    born_high : ndarray, shape (windows,)
        Of the frames of each window, the share from replicas that began in the upper half of the ladder: mixed, it is
        nearly the same in all; never mixed, it goes from 0 to 1. Not a number where a window has no frame.
    round_trips : int
        Of all replicas together, from one end of the ladder to the other and back, as far as frames show.
    columns : int
        Ladders that are independent of each other, each of which is to make two such trips on average.
    acceptance : ndarray, shape (windows - 1,), or None
        Share of exchanges that were accepted, where the sampler counted.
    halves : ndarray, shape (2, windows)
        Free energies of the windows by the first and by the second half of each trajectory, each with mean 0, in kT.
        Where they differ there is more to wait for; that they agree shows nothing. Not a number where half of the
        frames does not connect the windows.
    """

    overlap: np.ndarray
    born_high: np.ndarray
    round_trips: int
    columns: int
    acceptance: np.ndarray | None
    halves: np.ndarray

    @property
    def mixed(self) -> bool:
        """Whether free energies between the ends of the ladder have an interval at all."""
        return not self._faults()

    @property
    def reason(self) -> str:
        """Why they did not mix, or that they did: a sentence."""
        first, last = self.born_high[0], self.born_high[-1]
        shares = (
            f"of the frames in the first window {first:.0%}, in the last {last:.0%} come from replicas that began in "
            f"the upper half of the ladder, after {self.round_trips} round trips"
        )
        return "; ".join(self._faults() or ["the replicas mixed along the ladder"]) + ": " + shares

    def _faults(self) -> list[str]:
        faults = []
        if not (self.born_high[0] >= _LOW and self.born_high[-1] <= _HIGH):
            faults.append(
                "replicas did not mix along the ladder, so that free energies across it are those of the starts "
                "(exchange more often, sample longer, or learn a better CV)"
            )
        elif self.round_trips < _TRIPS * self.columns:
            faults.append(
                f"replicas made fewer than {_TRIPS} round trips for each of {self.columns} columns, so that free "
                "energies across the ladder remember the starts (sample longer, exchange more often, learn a better CV)"
            )
        thin = np.flatnonzero(self.overlap < LITTLE_OVERLAP)
        if len(thin):
            pairs = ", ".join(f"{k} and {k + 1}" for k in thin)
            faults.append(f"windows {pairs} hardly overlap (put more of them there, or softer ones)")
        return faults

    def __repr__(self) -> str:
        return f"Mixing({'mixed' if self.mixed else 'NOT mixed'}: {self.reason})"


def mixing(frames: Frames) -> Mixing:
    """See whether the replicas of umbrella sampling mixed along the ladder of windows.

    Where a CV does not say all that is slow, replicas that began on either side of a barrier stay different in the same
    window. Every window may then look settled, its time halves and its columns agree, and yet the free energy across
    the ladder is that of the starts. Where replicas came from shows it: below 10 % of the frames in the first window,
    or above 90 % of those in the last, come from replicas that began in the upper half. Replicas may also come and go
    in the middle of the ladder and yet hardly cross it: fewer than two round trips a column tell of that.

    Parameters
    ----------
    frames : Frames
        With a `bias`, as :func:`bayescg.sampling.umbrella` returns them.

    Returns
    -------
    Mixing

    Raises
    ------
    DataError
        The frames have no bias, or their windows nothing in common.

    Notes
    -----
    For alanine dipeptide in vacuum, the shares were 2 % and 100 %, or 6 % and 98 %, where free energies were wrong by 1
    to 4 kT, and 46 % and 66 %, or 24 % and 82 %, where they were right within 0.2 kT.

    Columns agree with each other as long as all remember the same starts: their spread does not tell. Of two valleys
    under a CV that leans towards one of them on either side, begun on the wrong side, intervals of 16 columns held the
    exact difference in 0 of 16 sets at 0.1 and 0.2 round trips a column (off by 8 and 4 standard deviations), in 8 at
    0.7 (1.5), 13 at 1.0 (0.5), 15 at 2.2 and 16 at 3.0.

    References
    ----------
    Klimovich, Shirts, Mobley, J. Comput. Aided Mol. Des. 29, 397 (2015), for the overlap of 0.03 that neighbours need;
    Katzgraber, Trebst, Huse, Troyer, J. Stat. Mech. P03018 (2006), for walks along a ladder.

    Examples
    --------
    >>> import bayescg as bcg
    >>> frames = bcg.sampling.umbrella(
    ...     bcg.systems.Harmonic((1.0, 1.0)), lambda x: x[:, 0], 800, dt=0.05, windows=4, walkers=8, stride=10,
    ...     starts=np.linspace([-2.0, 0.0], [2.0, 0.0], 50),
    ... )
    >>> mixing(frames).mixed
    True
    """
    bias = frames.bias
    if bias is None:
        raise DataError("these frames have no bias: bcg.sampling.umbrella returns such whose windows can be looked at")
    numbers = frames.trajectory.astype(np.int64) * (int(bias.replica.max()) + 1) + bias.replica
    _, replica = np.unique(numbers, return_inverse=True)
    if bias.born is None:
        _, first = np.unique(replica, return_index=True)
        born = bias.window[first][replica]
    else:
        born = np.asarray(bias.born)[bias.replica]
    count = np.bincount(bias.window, minlength=bias.windows)
    high = np.bincount(bias.window, 2 * born >= bias.windows, minlength=bias.windows)
    weights = frames.weights if frames.weights is not None else np.exp(mbar(bias.energies, bias.window)[0])
    rows = np.arange(0, len(frames), _step(frames))
    matrix = overlap(bias[rows], weights[rows])
    acceptance = frames.provenance.get("acceptance")
    with np.errstate(invalid="ignore"):
        share = high / count
    return Mixing(
        np.minimum(np.diagonal(matrix, 1), np.diagonal(matrix, -1)),
        share,
        round_trips(bias.window, replica, bias.windows),
        len(np.unique(frames.trajectory)),
        None if acceptance is None else np.asarray(acceptance),
        np.stack([_free_energies(frames, half[:: _step(frames)]) for half in _halves(frames.trajectory)]),
    )


def unmixed(frames: Frames) -> str | None:
    """Why biased frames have no intervals; None where they have, and of unbiased frames."""
    if frames.bias is None or (mixed := mixing(frames)).mixed:
        return None
    return mixed.reason


def _halves(trajectory: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Frames of the first and of the second half of each trajectory."""
    _, first, index, count = np.unique(trajectory, return_index=True, return_inverse=True, return_counts=True)
    early = 2 * (np.arange(len(trajectory)) - first[index]) < count[index]
    return np.flatnonzero(early), np.flatnonzero(~early)


def _step(frames: Frames) -> int:
    """Between the frames that are enough to see how halves differ, in no rhythm with the windows."""
    assert frames.bias is not None
    step = len(frames) // _ENOUGH + 1
    while gcd(step, frames.bias.windows) > 1:
        step += 1
    return step


def _free_energies(frames: Frames, rows: np.ndarray) -> np.ndarray:
    assert frames.bias is not None
    try:
        f = mbar(frames.bias.energies[rows], frames.bias.window[rows])[1]
    except DataError:  # so few frames that nothing connects their windows
        return np.full(frames.bias.windows, np.nan)
    return f - f.mean()
