"""Where a force-matching fit begins: splines solved for in closed form, their prior and the noise tuned by evidence."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.func import grad, jacrev, vmap

from bayescg.nets.force_matching_potential.quadrature_box import QuadratureBox
from bayescg.nets.force_matching_potential.spline_energy import SplineEnergy

__all__ = ["LinearEvidence", "LinearFit"]

_ROUNDS = 40
_CHUNK = 500
_QUIETEST = 1e-6
"""Variance of noise over that of forces, at least: without noise nothing would be left of a prior."""
_NARROWEST = 0.5
"""kT: of few frames the largest evidence has no splines at all, and error bars that are as narrow as they are wrong."""


@dataclass(frozen=True)
class LinearFit:
    """Splines at their most probable values.

    Attributes
    ----------
    weight : Tensor, (k,)
    spread : float
        Standard deviation of the weights, a priori.
    noise : Tensor, (groups,)
        Standard deviation of the forces of each group of coordinates, in kT per length.
    information : Tensor, (k, k)
        Of the data.
    """

    weight: Tensor
    spread: float
    noise: Tensor
    information: Tensor


class LinearEvidence:
    r"""Likelihoods of a linear energy U / kT = U_0 + c . B: of forces, of the density of the frames, or of both.

    The weights :math:`c \sim N(0, a^2)` are found by Newton steps (one is enough without a density); a and the noise
    are those of largest evidence, by MacKay's fixed point :math:`a^2 = |c|^2 / \gamma`,
    :math:`\sigma^2 = \mathrm{RSS} / (N - \gamma)`.

    Parameters
    ----------
    splines : SplineEnergy
        In double precision and not rotated; its knots cover the descriptors.
    read, springs : callable
        Descriptors ``(..., size)`` and the energy U_0 ``(...)`` of coordinates ``(..., dim)``.
    x : Tensor, (n, dim)
        Coordinates of the frames.
    forces : Tensor, (n, dim), or None
        In kT per length; None where only the density counts.
    weight : Tensor, (n,)
        What each frame counts.
    groups : sequence of int
        Which coordinates share their noise: a number for each.
    box : QuadratureBox, optional
        None where the density does not count.

    References
    ----------
    MacKay, "Bayesian interpolation", Neural Comput. 4, 415 (1992), eqs (4.8) and (4.9). Force and density as two
    estimates of one gradient: Noid et al., J. Chem. Phys. 128, 244114 (2008); Shell, J. Chem. Phys. 129, 144108 (2008).
    """

    def __init__(
        self,
        splines: SplineEnergy,
        read: Callable[[Tensor], Tensor],
        springs: Callable[[Tensor], Tensor],
        x: Tensor,
        forces: Tensor | None,
        weight: Tensor,
        groups: Sequence[int],
        box: QuadratureBox | None = None,
    ):
        self.splines, self.groups = splines, torch.tensor(groups)
        self.y, self.weight = read(x).double(), weight.double()
        self.slopes = torch.cat([vmap(jacrev(read))(part) for part in x.split(_CHUNK)]).double()
        self.forces = None if forces is None else (forces + grad(lambda v: springs(v).sum())(x)).double()
        size, count = len(splines.weight), int(self.groups.max()) + 1
        self.gram, self.moment = torch.zeros(count, size, size).double(), torch.zeros(count, size).double()
        self.square, self.number = torch.zeros(count).double(), torch.zeros(count).double()
        for rows, design, f in self._designs():
            w = self.weight[rows]
            for g in range(count):
                columns = self.groups == g
                a = (w.sqrt()[:, None, None] * design[:, columns]).flatten(0, 1)
                b = (w.sqrt()[:, None] * f[:, columns]).flatten()
                self.gram[g] += a.T @ a
                self.moment[g] += b @ a
                self.square[g] += b @ b
                self.number[g] += w.sum() * int(columns.sum())
        self.at = self.base = self.mean = None
        if box is not None:
            self.at = splines.basis(read(box.points).double())
            self.base = -springs(box.points).double()
            self.mean = self.weight @ splines.basis(self.y)

    def _designs(self) -> Iterator[tuple[slice, Tensor, Tensor]]:
        """Some frames at a time: rows, forces of each weight ``(n, dim, k)``, and the forces."""
        if self.forces is None:
            return
        for start in range(0, len(self.y), _CHUNK):
            rows = slice(start, start + _CHUNK)
            design = -torch.einsum("nfk,nfd->ndfk", self.splines.slopes(self.y[rows]), self.slopes[rows]).flatten(2)
            yield rows, design, self.forces[rows]

    def solve(self, share_forces: float = 1.0, share_frames: float = 1.0) -> LinearFit:
        """The fit in which frames count by these shares in the two likelihoods, one over their inefficiencies."""
        size = self.gram.shape[-1]
        c, alpha, eye = torch.zeros(size).double(), 1.0, torch.eye(size).double()
        variance, floor = torch.ones(len(self.square)).double(), 0.0
        if self.forces is not None:
            floor = (_QUIETEST * self.square / self.number).clamp_min(1e-12)
            variance = self.square / self.number + floor
        information = eye
        for _ in range(_ROUNDS):
            for _ in range(1 if self.at is None else 3):
                gradient, information = self._slope(c, share_forces / variance, share_frames)
                c = c + self._step(c, torch.linalg.solve(information + alpha * eye, gradient - alpha * c))
            inverse = torch.linalg.inv(information + alpha * eye)
            gamma = size - alpha * float(inverse.trace())
            alpha = min(max(gamma, 1e-3) / max(float(c @ c), 1e-12), _NARROWEST**-2) + 1e-12 * float(
                information.trace()
            )
            if self.forces is not None:
                rest = self.square - 2 * self.moment @ c + torch.einsum("k,gkl,l->g", c, self.gram, c)
                spent = torch.einsum("kl,glk->g", inverse, self.gram) / variance
                variance = rest.clamp_min(0.0) / (self.number - spent).clamp_min(1.0) + floor
        return LinearFit(c, alpha**-0.5, variance.sqrt(), information)

    def _slope(self, c: Tensor, precision: Tensor, share: float) -> tuple[Tensor, Tensor]:
        """Gradient of the log likelihood, and its information."""
        gradient, information = torch.zeros_like(c), torch.zeros(len(c), len(c)).double()
        if self.forces is not None:
            information = torch.einsum("g,gkl->kl", precision, self.gram)
            gradient = precision @ self.moment - information @ c
        if self.at is not None and self.base is not None and self.mean is not None:
            p = torch.softmax(self.base - self.at @ c, 0)
            mean, total = p @ self.at, self.weight.sum()
            gradient = gradient + share * (total * mean - self.mean)
            information = information + share * total * ((self.at * p[:, None]).T @ self.at - torch.outer(mean, mean))
        return gradient, information

    def _step(self, c: Tensor, step: Tensor) -> Tensor:
        """A Newton step, no longer than 3 kT anywhere on the grid, where the density is no quadratic."""
        if self.at is None:
            return step
        return step * min(1.0, 3.0 / max(float((self.at @ step).abs().max()), 1e-12))

    def influence(self, fit: LinearFit) -> Tensor:
        """Of the forces of each frame on the energies of all, ``(n, k)``: its memory is what counts.

        The noise of one frame moves the weights by the inverse Hessian times its score, and energies at the frames by
        the basis times that. The columns are principal axes of these energies, without their mean: their squares add
        up to the mean square over the frames. So what moves the energy most, which are its smooth parts, that remember
        longest, counts most; of the score alone each parameter would count alike.
        """
        precision = 1.0 / fit.noise**2
        hessian = fit.information + fit.spread**-2 * torch.eye(len(fit.weight)).double()
        basis = self.splines.basis(self.y)
        share = self.weight / self.weight.sum()
        basis = basis - share @ basis
        values, axes = torch.linalg.eigh((basis * share[:, None]).T @ basis)
        each = [
            torch.einsum("nd,ndk->nk", (f - design @ fit.weight) * precision[self.groups], design)
            for _, design, f in self._designs()
        ]
        return torch.cat(each) @ torch.linalg.solve(hessian, axes * values.clamp_min(0.0).sqrt())
