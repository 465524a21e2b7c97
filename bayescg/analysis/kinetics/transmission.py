"""Which share of the least flux along a CV is the reactive flux: what shots from frames at equilibrium tell."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from scipy.stats import norm
from torch import Tensor
from torch.func import grad, jvp

from bayescg import nets
from bayescg.errors import ConfigError, DataError
from bayescg.recording.functional import forward_mode
from bayescg.truth.reduce import values_of

if TYPE_CHECKING:
    from bayescg.analysis.resampled import Resampled
    from bayescg.data import Frames
    from bayescg.systems import System
    from bayescg.truth.absorbing import Region

__all__ = ["Shooting"]

_AT_ONCE = 4096

_FLAT = 0.05
"""Of the committor along the CV, at either end, where the trial function is constant."""


class Shooting:
    r"""Shots from some of the frames of an average.

    Let :math:`\phi` be any function that is zero around the first set and one around the second. As the committor q
    solves :math:`Lq = 0` between them, the reactive flux is, exactly and for shots whatever their number,

    .. math:: \nu = E[\nabla\phi \cdot D \nabla q] = -E[q L\phi]
        = E[\nabla\phi \cdot D \nabla\phi] + E[(\phi - q) L\phi],

    where the share of shots that reach the second set first stands for q without a bias. The nearer :math:`\phi` is to
    the committor, the smaller are both factors of the last average, and the less noise it has.

    Parameters
    ----------
    frames : Frames
    shots : Frames
        Of :func:`bayescg.sampling.commitment` from some of these frames, which were not chosen by what the CV does not
        say; to `a` and `b`, in this order.
    system : System or None
    diffusion : float, array
        One for all coordinates, one for each, or a matrix.
    a, b : callable

    Attributes
    ----------
    rows : ndarray of int, (shots,)
        Which frames they are.
    reached : ndarray, (shots,)
        Share that reached `b` before `a`.

    Raises
    ------
    ConfigError
        There is no system, or D depends on the positions.
    DataError
        Shots have other than two regions, or these are not `a` and `b`; they moved by Langevin dynamics, or at another
        temperature; or they are from configurations that are none of the frames.
    """

    def __init__(self, frames: Frames, shots: Frames, system: System | None, diffusion: Any, a: Region, b: Region):
        if system is None:
            raise ConfigError("shots tell of a rate together with the forces at their starts: give system=")
        if callable(diffusion):
            raise ConfigError("shots tell of rates where D is the same everywhere: diffusion= is a function here")
        counts = None if shots.commitments is None else np.asarray(shots.commitments)
        if counts is None or counts.shape[1] != 2:
            raise DataError("shots= must be counts at two regions, a and b, as bcg.sampling.commitment returns them")
        if shots.provenance.get("dynamics", "overdamped") != "overdamped":
            raise DataError("these shots moved by Langevin dynamics, but the rates are those of overdamped dynamics")
        if (heat := shots.provenance.get("heat", 1.0)) != 1:
            raise DataError(
                f"these shots went at {heat:g} times the temperature; rates need them at that of the frames"
            )
        ended = counts.sum(1) > 0
        places = {x.tobytes(): row for row, x in enumerate(frames.gather(slice(None)).reshape(len(frames), -1))}
        starts = shots.gather(slice(None)).reshape(len(shots), -1)
        rows = [places.get(x.tobytes(), -1) for x in starts[ended]]
        if -1 in rows or not rows:
            raise DataError(
                f"{rows.count(-1)} of {len(rows)} shots are from configurations that are none of the frames: shoot "
                "from some of these, bcg.sampling.commitment(system, frames[::20], {'A': a, 'B': b}, ...)"
            )
        self.rows, self.reached = np.array(rows), counts[ended, 1] / counts[ended].sum(1)
        self.x = torch.as_tensor(frames.gather(self.rows)).double()
        for region, wrong, name in ((a, self.reached, "a"), (b, 1 - self.reached, "b")):
            if wrong[values_of(region, self.x) > 0].any():
                raise DataError(f"shots from frames in {name} did not end there: the regions must be a and b, in order")
        d = nets.diffusion_value(diffusion, self.x[:1], torch.float64).cpu()
        size = self.x[0].numel()
        self.matrix = d if d.dim() == 2 else torch.diag(d.expand(size))
        self.drift = system.forces(self.x).double().reshape(len(self.x), -1) @ self.matrix / system.kT

    def flux(
        self,
        cv: Callable[[Tensor], Tensor],
        s: np.ndarray,
        pull: np.ndarray,
        committor: tuple[np.ndarray, np.ndarray],
        like: Tensor | None,
        drawing: Resampled,
        rows: np.ndarray | slice,
    ) -> np.ndarray:
        r"""Reactive flux times the sum of the weights, of all frames and of draws of them, (1 + rows,).

        The average of :math:`\nabla\phi \cdot D \nabla\phi` is that of all frames, and the ratio of the second to
        it that of the shots, of which it needs no sum of weights.

        Parameters
        ----------
        cv : callable
        s, pull : ndarray, (n,)
            Of all frames, the CV turned to point from `a` to `b`, and :math:`\nabla s \cdot D \nabla s`.
        committor : (ndarray, ndarray)
            Edges of bins of s, and the committor along it there.
        like : Tensor or None
            What positions must be like.
        drawing : Resampled
        rows : ndarray of int, or slice
            Which draws.

        Raises
        ------
        DataError
            The shots are too few to tell even that the flux is positive.
        """
        gradient, second = self._derivatives(cv, like)
        with torch.no_grad():
            first = cv(self.x[:1] if like is None else self.x[:1].to(like)).reshape(-1)[0]
        change = (second + (self.drift * gradient).sum(1)).numpy() * np.sign(float(first) * s[self.rows[0]])
        phi, slope, bend = _trial(s, *committor)
        gain, shot = np.zeros((2, len(s)))
        shot[self.rows] = 1.0
        gain[self.rows] = (phi[self.rows] - self.reached) * (
            bend[self.rows] * pull[self.rows] + slope[self.rows] * change
        )
        square = slope**2 * pull
        whole, part, excess = (
            np.vstack(drawing.sums(np.zeros(len(s), dtype=np.int64), 1, rows, values=v))[:, 0]
            for v in (square, square * shot, gain)
        )
        ratio = 1.0 + excess / part
        if (low := (ratio <= 0).mean()) > 0.02 or ratio[0] <= 0:
            raise DataError(
                f"{len(self.rows)} shots are too few to tell the flux, which is negative in {low:.0%} of the draws: "
                "shoot from more of the frames between the sets, or learn a better CV"
            )
        return whole * np.maximum(ratio, 1e-3)

    def _derivatives(self, cv: Callable[[Tensor], Tensor], like: Tensor | None) -> tuple[Tensor, Tensor]:
        """Gradient (shots, dim) of a CV, and the trace of D times its second derivatives (shots,)."""
        gradient = grad(lambda y: cv(y).reshape(len(y), -1)[:, 0].sum())
        parts = []
        for x in self.x.split(_AT_ONCE):
            x = x if like is None else x.to(like)
            trace = torch.zeros(len(x), dtype=torch.float64)
            for i, column in enumerate(self.matrix):
                tangent = column.to(x).expand(len(x), -1).reshape(x.shape)
                with forward_mode():
                    change = jvp(gradient, (x,), (tangent,))[1]
                trace += change.detach().reshape(len(x), -1)[:, i].double().cpu()
            parts.append((gradient(x).detach().reshape(len(x), -1).double().cpu(), trace))
        first, second = zip(*parts, strict=True)
        return torch.cat(first), torch.cat(second)


def _trial(s: np.ndarray, edges: np.ndarray, q: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The trial function and its first two derivatives by s.

    It is a normal distribution function, as a committor is across a barrier, with the quartiles of that along s, and
    constant near its ends. Slopes are continuous, which is all that integration by parts needs. A curve that followed q
    bin by bin would follow the noise of the very frames that it is averaged over.
    """
    quartiles = np.interp([0.25, 0.5, 0.75], q, edges)
    scale = (quartiles[2] - quartiles[0]) / (2 * norm.ppf(0.75))
    t = (s - quartiles[1]) / scale
    u, rise = norm.cdf(t), norm.pdf(t) / scale
    bow = -t * rise / scale
    flat = max(_FLAT, norm.cdf((edges[0] - quartiles[1]) / scale), norm.sf((edges[-1] - quartiles[1]) / scale))
    most = 1 / (1 - 3 * flat)  # slope by u in the middle; to both sides it falls to zero over the same distance
    h_slope = most * np.clip(np.minimum(u / flat - 1, (1 - u) / flat - 1), 0, 1)
    h_bend = most / flat * (((u > flat) & (u < 2 * flat)) * 1.0 - ((u > 1 - 2 * flat) & (u < 1 - flat)) * 1.0)
    low, high = np.clip(u - flat, 0, flat), np.clip(1 - flat - u, 0, flat)
    ramp = most / (2 * flat)
    h = ramp * low**2 + most * np.clip(u - 2 * flat, 0, 1 - 4 * flat) + ramp * (flat**2 - high**2)
    return h, h_slope * rise, h_bend * rise**2 + h_slope * bow
