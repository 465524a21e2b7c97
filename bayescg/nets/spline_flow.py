"""Normalising flows whose samples and densities are both cheap: coupling layers of splines, circular where asked."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from copy import copy
from itertools import pairwise
from typing import Any, cast

import pyro.distributions as dist
import torch
from pyro.contrib.zuko import ZukoToPyro
from torch import Tensor, nn
from torch.distributions import AffineTransform, Distribution, Transform, constraints

from bayescg.nets.compiled_spline import compiled_spline

_VALIDATED = Distribution._validate_args
from zuko.distributions import DiagNormal, NormalizingFlow  # noqa: E402
from zuko.transforms import ComposedTransform, MonotonicRQSTransform  # noqa: E402

Distribution.set_default_validate_args(_VALIDATED)  # zuko switches it off for the whole process

__all__ = ["BOUND", "SplineFlow", "evening_knots"]

BOUND = 5.0
"""Splines act on so many units to both sides; beyond, a linear coordinate is left as it is."""
_STEEPEST = 1e-3


class SplineFlow(nn.Module):
    r"""Neural spline flow by coupling, with circular coordinates beside linear ones.

    All coordinates are real numbers, in units of `scale` around `centre`. A triangular matrix first takes the
    correlations out of those that are not circular. Then each layer leaves one half of them alone and
    moves each of the other half by a monotonic rational-quadratic spline on :math:`[-5, 5]`, whose knots a network
    reads from the first half. Halves are drawn once and for all, so that neighbours among the circular coordinates (phi
    and psi of a residue) are never in the same one, and then change places. A fresh flow is a standard
    normal distribution: the matrix begins as the identity, the networks' last layers at zero.

    A circular coordinate u stands for the angle :math:`\pi\,\mathrm{erf}(u / \sqrt2)`, as in
    :class:`bayescg.features.UnboundedCoordinates`: both ends of its axis are one place, and standard normal is
    uniform. Its splines act on the angle, networks read its sine and cosine, and after each layer it is turned, so that
    the ends of a spline, where the slope is 1, lie elsewhere in the next.

    The forward pass returns a Pyro distribution of event shape ``(len(circular),)``. Sampling takes as long as the
    density, each one evaluation of all networks. With `context` it is a density given so many numbers, which all
    networks read: ``flow(context)`` has a batch of distributions, one for each row of ``(..., context)``.

    Parameters
    ----------
    circular : sequence of bool
        Of each coordinate.
    layers : int
    bins : int
        Of each spline.
    hidden : sequence of int
        Widths of the networks' hidden layers.
    context : int
        Conditioning numbers.

    Attributes
    ----------
    centre, scale : Tensor
        Buffers, one value for each coordinate: 0 and 1 until `place` is called.

    References
    ----------
    Durkan, Bekasov, Murray, Papamakarios, "Neural spline flows", NeurIPS 2019, arXiv:1906.04032; Rezende et al.,
    "Normalizing flows on tori and spheres", ICML 2020, arXiv:2002.02428, section 2.1.

    Examples
    --------
    >>> flow = SplineFlow([False, False, True])
    >>> x = flow()((1000,))
    >>> x.shape, flow().log_prob(x).shape, flow().event_shape
    (torch.Size([1000, 3]), torch.Size([1000]), torch.Size([3]))
    >>> given = SplineFlow([False, False, True], context=2)
    >>> q = given(torch.randn(7, 2))
    >>> q.batch_shape, q((1000,)).shape
    (torch.Size([7]), torch.Size([1000, 7, 3]))
    """

    circular: Tensor
    turning: Tensor
    centre: Tensor
    scale: Tensor

    def __init__(
        self,
        circular: Sequence[bool],
        layers: int = 8,
        bins: int = 8,
        hidden: Sequence[int] = (64, 64),
        context: int = 0,
    ):
        super().__init__()
        size, self.context = len(circular), context
        self.register_buffer("circular", torch.tensor([bool(c) for c in circular]), persistent=False)
        self.register_buffer("turning", torch.eye(size)[self.circular], persistent=False)
        self.register_buffer("centre", torch.zeros(size))
        self.register_buffer("scale", torch.ones(size))
        self.turns = any(circular)
        self.mixing = Mixing(self.circular)
        generator = torch.Generator().manual_seed(0)
        order = torch.arange(size)
        self.layers = nn.ModuleList()
        for number in range(layers):
            # the latter half moves; the two halves change places, then new ones are drawn
            order = _halves(self.circular, generator) if number % 2 == 0 else order.roll(-(size // 2))
            self.layers.append(Coupling(self.circular, order, bins, hidden, context))

    def place(self, centre: Tensor, scale: Tensor | float) -> None:
        """Set centre and scale, each of shape ``(size,)``, of the coordinates that are not circular."""
        self.centre.copy_(torch.where(self.circular, 0.0, centre))
        self.scale.copy_(torch.where(self.circular, 1.0, scale))

    def begin_from(self, plain: SplineFlow) -> None:
        """Take the weights of a flow of the same sizes without context: its density, whatever the context is."""
        state = plain.state_dict()
        for name, value in self.state_dict().items():
            if name.endswith("net.0.weight"):  # reads the context last
                state[name] = nn.functional.pad(state[name], (0, value.shape[1] - state[name].shape[1]))
        self.load_state_dict(state)

    def forget_context(self) -> None:
        """Let the density be the same whatever the context is, until it is trained."""
        for layer in cast("list[Coupling]", list(self.layers)):
            first = cast("nn.Linear", layer.net[0])
            nn.init.zeros_(first.weight[:, first.in_features - self.context :])

    def forward(
        self, context: Tensor | None = None, widen: Tensor | float = 1.0, first: Tensor | None = None
    ) -> dist.TorchDistribution:
        """The distribution, coordinates that are not circular wider by a factor; one for each row of a context.

        Circular coordinates pass splines of the knots `first` before all layers, ``(..., circular ones, 3 bins - 1)``
        (:func:`evening_knots`).
        """
        scale = torch.where(self.circular, self.scale, self.scale * widen)
        parts: list[Transform] = [AffineTransform(self.centre, scale, event_dim=1).inv, _Mix(self.mixing.matrix())]
        if self.turns:
            parts.append(_Angle(self.circular))
            if first is not None:
                parts.append(_Bend(self.circular, self.turning, first))
        for number, layer in enumerate(cast("list[Coupling]", list(self.layers))):
            parts.append(_Couple(layer, context))
            if self.turns:
                parts.append(_Turn(self.circular, BOUND if number % 2 == 0 else 0.5 * BOUND))
        if self.turns:
            parts.append(_Angle(self.circular).inv)
        centre = self.centre if context is None else self.centre.expand(*context.shape[:-1], -1)
        base = DiagNormal(torch.zeros_like(centre), torch.ones_like(centre))
        return ZukoToPyro(NormalizingFlow(ComposedTransform(*parts), base))


def _halves(circular: Tensor, generator: torch.Generator) -> Tensor:
    """A random order of coordinates whose halves separate each two neighbours of the circular ones."""
    turning = circular.nonzero()[:, 0]
    pairs = turning[: len(turning) // 2 * 2].view(-1, 2)
    swapped = torch.rand(len(pairs), generator=generator) < 0.5
    first, second = pairs[:, 0].where(swapped, pairs[:, 1]), pairs[:, 1].where(swapped, pairs[:, 0])
    paired = torch.zeros_like(circular).index_fill(0, pairs.flatten(), True)
    rest = (~paired).nonzero()[:, 0]
    rest = rest[torch.randperm(len(rest), generator=generator)]
    left = len(circular) // 2 - len(first)
    return torch.cat([first, rest[:left], second, rest[left:]])


class Mixing(nn.Module):
    """A lower triangular matrix of coordinates that are not circular.

    Parameters
    ----------
    circular : Tensor of bool, shape (size,)
    """

    below: Tensor

    def __init__(self, circular: Tensor):
        super().__init__()
        straight = ~circular
        self.register_buffer("below", (straight[:, None] & straight).tril(-1), persistent=False)
        self.register_buffer("straight", straight, persistent=False)
        self.lower = nn.Parameter(torch.zeros(len(circular), len(circular)))
        self.log_diagonal = nn.Parameter(torch.zeros(len(circular)))

    def reset_parameters(self) -> None:
        """Back to the identity."""
        nn.init.zeros_(self.lower)
        nn.init.zeros_(self.log_diagonal)

    def matrix(self) -> Tensor:
        """Of shape ``(size, size)``."""
        diagonal = torch.where(self.get_buffer("straight"), self.log_diagonal, 0.0).exp()
        return torch.where(self.below, self.lower, 0.0) + diagonal.diag()


class Coupling(nn.Module):
    """One layer: the network that reads the splines of the latter coordinates of an order off the former ones.

    Parameters
    ----------
    circular : Tensor of bool, shape (size,)
    order : Tensor of int64, shape (size,)
        The first half of it, rounded down, is left alone.
    bins : int
    hidden : sequence of int
    context : int
    """

    sort: Tensor

    def __init__(self, circular: Tensor, order: Tensor, bins: int, hidden: Sequence[int], context: int):
        super().__init__()
        self.kept, self.bins = len(order) // 2, bins
        still, moved = order[: self.kept], order[self.kept :]
        still = torch.cat([still[~circular[still]], still[circular[still]]])
        self.straight = int((~circular[still]).sum())
        # sorted by a product, whose derivative is one, too: that of an index adds up one number after the other
        self.register_buffer("sort", torch.eye(len(order))[:, torch.cat([still, moved])], persistent=False)
        sizes = [max(1, 2 * self.kept - self.straight) + context, *hidden]
        parts: list[nn.Module] = []
        for a, b in pairwise(sizes):
            parts += [nn.Linear(a, b), nn.SiLU()]
        self.net = nn.Sequential(*parts, _Last(sizes[-1], len(moved) * (3 * bins - 1)))

    def knots(self, kept: Tensor, context: Tensor | None) -> Tensor:
        """Of the splines of the moved coordinates, given the kept ones ``(..., kept)`` and a context."""
        straight, turning = kept[..., : self.straight], kept[..., self.straight :] * (math.pi / BOUND)
        inputs = torch.cat([straight, turning.cos(), turning.sin()], -1)
        if not self.kept:  # of a single coordinate, whose splines are those of the context
            inputs = kept.new_zeros(*(kept if context is None else context).shape[:-1], 1)
        if context is not None:
            inputs = torch.cat([inputs, context.expand(*inputs.shape[:-1], -1)], -1)
        return self.net(inputs).unflatten(-1, (-1, 3 * self.bins - 1))


class _Last(nn.Linear):
    """A last layer, which begins at zero."""

    def reset_parameters(self) -> None:
        nn.init.zeros_(self.weight)
        nn.init.zeros_(self.bias)


class _Spline(MonotonicRQSTransform):
    """With the inverse and its Jacobian from one search of the bin.

    Widths and heights are bounded before they are normalised, so that no maximum has to be taken off: over a few bins,
    torch's softmax is slower than all the rest.
    """

    def __init__(self, widths: Tensor, heights: Tensor, derivatives: Tensor, bound: float, slope: float = _STEEPEST):
        Transform.__init__(self)
        most = -math.log(slope)
        self.horizontal, self.vertical = (_edges(x / (1 + abs(2 / most * x)), bound) for x in (widths, heights))
        self.derivatives = nn.functional.pad(derivatives / (1 + abs(derivatives / most)), (1, 1)).exp()

    def inverse_and_ladj(self, y: Tensor) -> tuple[Tensor, Tensor]:
        k: Any = self.searchsorted(self.vertical, y) - 1
        inside, x0, x1, y0, y1, d0, d1, s = self.bin(k)
        above = inside * (y - y0)
        curve = d0 + d1 - 2 * s
        a, b, c = (y1 - y0) * (s - d0) + above * curve, (y1 - y0) * d0 - above * curve, -s * above
        z = 2 * c / (-b - (b**2 - 4 * a * c).clamp_min(0.0).sqrt())
        slope = s**2 * (2 * s * z * (1 - z) + d0 * (1 - z) ** 2 + d1 * z**2) / (s + curve * z * (1 - z)) ** 2
        return torch.where(inside, x0 + z * (x1 - x0), y), -(inside * slope.log())


def _plain_spline(x: Tensor, knots: Tensor, inverse: bool) -> tuple[Tensor, Tensor]:
    """Values of splines, or of their inverses, and logs of the slopes there, by torch operations."""
    bins = (knots.shape[-1] + 1) // 3
    spline = _Spline(*knots.split([bins, bins, bins - 1], -1), bound=BOUND)
    return spline.inverse_and_ladj(x) if inverse else spline.call_and_ladj(x)


def evening_knots(angle: Tensor, weight: Tensor, bins: int, tail: float = 1e-3) -> Tensor:
    """Knots, ``(3 bins - 1,)``, of the spline under which weighted angles are about uniform.

    Parameters
    ----------
    angle : Tensor, shape (n,)
        In units of pi / 5, within [-5, 5].
    weight : Tensor, shape (n,)
    bins : int
        All hold as many of them but for the two at the ends.
    tail : float
        What each of those holds, of all.

    Examples
    --------
    >>> angle = 1.0 + 0.2 * torch.randn(5000)
    >>> knots = evening_knots(angle, torch.ones(5000), bins=8)
    >>> even = _plain_spline(angle, knots.expand(5000, -1), inverse=False)[0]
    >>> bool((torch.histc(even, 5, -BOUND, BOUND) / 1000 - 1).abs().max() < 0.2)
    True
    """
    order = angle.argsort()
    below = (weight[order] / weight.sum()).cumsum(0)
    heights = torch.full((bins,), (1 - 2 * tail) / max(1, bins - 2), dtype=angle.dtype)
    heights[0] = heights[-1] = tail if bins > 2 else 0.5
    inner = torch.searchsorted(below, heights.cumsum(0)[:-1].contiguous()).clamp(max=len(angle) - 1)
    ends = torch.cat([angle.new_tensor([-BOUND]), angle[order][inner], angle.new_tensor([BOUND])])
    widths = ends.diff().clamp_min(2e-3 * BOUND)
    slopes = (heights / heights.sum() / (widths / widths.sum())).log()
    most = -math.log(_STEEPEST)

    def unsqueezed(logs: Tensor, steep: float) -> Tensor:
        return logs / (1 - (steep / most * logs.abs()).clamp_max(0.99))

    centred = [unsqueezed(share.log() - 0.5 * (share.max() * share.min()).log(), 2) for share in (widths, heights)]
    return torch.cat([*centred, unsqueezed(0.5 * (slopes[1:] + slopes[:-1]), 1)])


def _edges(logs: Tensor, bound: float) -> Tensor:
    """Of bins whose shares of [-bound, bound] have these logarithms, up to a constant."""
    ends = logs.exp().cumsum(-1)
    return bound * (2 * nn.functional.pad(ends / ends[..., -1:], (1, 0)) - 1)


class _OnVectors(Transform, ABC):
    """A bijection of vectors that runs forwards or backwards."""

    domain = codomain = constraints.real_vector
    bijective = True

    forwards = True

    @property
    def inv(self) -> _OnVectors:
        turned = copy(self)
        turned.forwards = not self.forwards
        return turned

    def _call(self, x: Tensor) -> Tensor:
        return self.call_and_ladj(x)[0]

    @abstractmethod
    def call_and_ladj(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """The value and the log of the Jacobian's determinant, of each row."""


class _Mix(_OnVectors):
    """Multiplication by a lower triangular matrix."""

    def __init__(self, matrix: Tensor):
        super().__init__()
        self.matrix = matrix

    def call_and_ladj(self, x: Tensor) -> tuple[Tensor, Tensor]:
        ladj = self.matrix.diagonal().log().sum().expand(x.shape[:-1])
        if self.forwards:
            return x @ self.matrix.T, ladj
        flat = x.reshape(-1, x.shape[-1])
        return torch.linalg.solve_triangular(self.matrix.T, flat, upper=True, left=False).reshape(x.shape), -ladj


class _Couple(_OnVectors):
    """A layer as a bijection."""

    def __init__(self, layer: Coupling, context: Tensor | None):
        super().__init__()
        self.layer, self.context = layer, context

    def call_and_ladj(self, x: Tensor) -> tuple[Tensor, Tensor]:
        if self.context is not None:
            x = x.expand(*torch.broadcast_shapes(x.shape[:-1], self.context.shape[:-1]), -1)
        ordered = x @ self.layer.sort
        still, moved = ordered[..., : self.layer.kept], ordered[..., self.layer.kept :]
        knots = self.layer.knots(still, self.context)
        moved, ladj = compiled_spline(moved, knots, BOUND, not self.forwards, _plain_spline)
        return torch.cat([still, moved], -1) @ self.layer.sort.T, ladj.sum(-1)


class _Bend(_OnVectors):
    """All circular coordinates, each by a spline of its own; rows of `place` pick them."""

    def __init__(self, circular: Tensor, place: Tensor, knots: Tensor):
        super().__init__()
        self.circular, self.place, self.knots = circular, place, knots

    def call_and_ladj(self, x: Tensor) -> tuple[Tensor, Tensor]:
        rows = torch.broadcast_shapes(x.shape[:-1], self.knots.shape[:-2])
        angle, knots = x.expand(*rows, -1) @ self.place.T, self.knots.expand(*rows, -1, -1)
        bent, ladj = compiled_spline(angle, knots, BOUND, not self.forwards, _plain_spline)
        return torch.where(self.circular, bent @ self.place, x), ladj.sum(-1)


class _Turn(_OnVectors):
    """All circular coordinates, turned by an angle."""

    def __init__(self, circular: Tensor, angle: float):
        super().__init__()
        self.circular, self.angle = circular, angle

    def call_and_ladj(self, x: Tensor) -> tuple[Tensor, Tensor]:
        angle = self.angle if self.forwards else -self.angle
        turned = torch.remainder(x + (BOUND + angle), 2 * BOUND) - BOUND
        return torch.where(self.circular, turned, x), torch.zeros_like(x[..., 0])


class _Angle(_OnVectors):
    """Circular coordinates from all real numbers to angles in units of pi / 5."""

    def __init__(self, circular: Tensor):
        super().__init__()
        self.circular = circular

    def call_and_ladj(self, x: Tensor) -> tuple[Tensor, Tensor]:
        if self.forwards:
            u = x
            moved = BOUND * torch.erf(x / math.sqrt(2))
        else:
            edge = 1 - 4 * torch.finfo(x.dtype).eps  # neither end is at infinity
            u = math.sqrt(2) * torch.erfinv((torch.where(self.circular, x, 0.0) / BOUND).clamp(-edge, edge))
            moved = u
        slope = torch.where(self.circular, 0.5 * u.square() - math.log(BOUND * math.sqrt(2 / math.pi)), 0.0).sum(-1)
        return torch.where(self.circular, moved, x), -slope if self.forwards else slope
