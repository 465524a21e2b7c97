"""A potential energy that is linear in its parameters: cubic B-splines of each descriptor."""

import torch
from torch import Tensor, nn

from bayescg.arguments import check_counts

__all__ = ["SplineEnergy"]


class SplineEnergy(nn.Module):
    r"""A sum of functions of single descriptors, :math:`\sum_f \sum_k c_{fk} B((y_f - t_{fk}) / h_f)`.

    B is the cubic B-spline, smooth to the second derivative and zero beyond two knots; the knots :math:`t_{fk}` cover
    the range of each descriptor evenly. The parameters are the steps of c from knot to knot in a rotated basis, in
    which each is told apart by the data (:meth:`rotate`); rotated or not, they have the same isotropic prior. So c is a
    random walk a priori, and wells far apart may differ by more than neighbouring knots: an isotropic prior of c itself
    holds barriers low where forces are few and noisy, by 0.4 of their standard error in a double well of 800 frames.

    Parameters
    ----------
    size : int
        Number of descriptors.
    knots : int
        Of each; at least 4.

    Attributes
    ----------
    weight : Parameter, (size * knots,)
    start : Tensor, (size * knots,)
        Values that training begins with.

    References
    ----------
    Noid et al., "The multiscale coarse-graining method. I", J. Chem. Phys. 128, 244114 (2008): forces linear in their
    parameters. Liu, Shi, Daumé, Voth, "A Bayesian statistics approach to multiscale coarse graining", J. Chem. Phys.
    129, 214114 (2008): a Gaussian prior of them. Lang, Brezger, "Bayesian P-splines", J. Comput. Graph. Stat. 13, 183
    (2004), section 2.1: a random walk.

    Examples
    --------
    >>> energy = SplineEnergy(1, knots=8)
    >>> energy.cover(torch.tensor([0.0]), torch.tensor([1.0]))
    >>> bool(torch.allclose(energy.basis(torch.linspace(0.0, 1.0, 5)[:, None])[:, 0], torch.ones(5)))
    True
    """

    low: Tensor
    step: Tensor
    rotation: Tensor
    start: Tensor

    def __init__(self, size: int, knots: int = 22):
        super().__init__()
        check_counts(size=(size, 1), knots=(knots, 4))
        self.knots = knots
        self.weight = nn.Parameter(torch.zeros(size * knots))
        self.register_buffer("low", torch.zeros(size))
        self.register_buffer("step", torch.ones(size))
        self.register_buffer("rotation", torch.zeros(size * knots, size * knots))
        self.register_buffer("start", torch.zeros(size * knots))
        self.rotate(torch.eye(size * knots), self.start)

    @classmethod
    def covering(cls, y: Tensor, knots: int) -> "SplineEnergy":
        """In double precision, its knots over the range of descriptors ``(n, size)`` and a twentieth more."""
        splines, margin = cls(y.shape[-1], knots).double(), 0.05 * (y.amax(0) - y.amin(0))
        splines.cover(y.amin(0) - margin, y.amax(0) + margin)
        return splines

    def reset_parameters(self) -> None:
        """Begin at `start`."""
        with torch.no_grad():
            self.weight.copy_(self.start)

    def cover(self, low: Tensor, high: Tensor) -> None:
        """Let the knots cover the descriptors from `low` to `high`, each ``(size,)``; of constants a length of 1."""
        width = torch.where(high - low > 1e-6, high - low, torch.ones_like(low))
        self.low.copy_(low)
        self.step.copy_(width / (self.knots - 3))

    def rotate(self, rotation: Tensor, start: Tensor) -> None:
        """Take the parameters along the columns of an orthogonal matrix, and their first values."""
        self.rotation.copy_(rotation.unflatten(0, (-1, self.knots)).cumsum(1).flatten(0, 1))  # of c, not of its steps
        self.start.copy_(start)
        self.reset_parameters()

    def _distance(self, y: Tensor) -> Tensor:
        """Of descriptors ``(..., size)`` to the knots, in steps, ``(..., size, knots)``."""
        return ((y - self.low) / self.step).unsqueeze(-1) + 1.0 - torch.arange(self.knots, device=y.device)

    def _splines(self, y: Tensor) -> Tensor:
        """The B-splines of descriptors ``(..., size)``: ``(..., size, knots)``."""
        t = self._distance(y).abs()
        return (2.0 - t).clamp_min(0.0) ** 3 / 6.0 - 2.0 / 3.0 * (1.0 - t).clamp_min(0.0) ** 3

    def basis(self, y: Tensor) -> Tensor:
        """What the parameters multiply, before the rotation, of descriptors ``(..., size)``: ``(..., size * knots)``.

        The sums of each B-spline and all beyond it, which are smooth steps: 0 before, 1 within the knots.
        """
        return _and_all_beyond(self._splines(y)).flatten(-2)

    def slopes(self, y: Tensor) -> Tensor:
        """Derivatives of each descriptor's part of the basis by it, ``(..., size, knots)``."""
        d = self._distance(y)
        t = d.abs()
        slope = -0.5 * (2.0 - t).clamp_min(0.0) ** 2 + 2.0 * (1.0 - t).clamp_min(0.0) ** 2
        return _and_all_beyond(slope * d.sign() / self.step.unsqueeze(-1))

    def forward(self, y: Tensor) -> Tensor:
        """Energies ``(...)`` of descriptors ``(..., size)``."""
        return self._splines(y).flatten(-2) @ (self.rotation @ self.weight)


def _and_all_beyond(values: Tensor) -> Tensor:
    """Sums from each value of the last axis to the end."""
    return values.flip(-1).cumsum(-1).flip(-1)
