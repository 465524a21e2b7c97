r"""Two-dimensional landscapes hidden in five coordinates: energies in eV, kB of the SI.

The coordinates enter through :math:`X = (x_1^2 + x_2^2 + 10^{-7} x_5^2)^{1/2}` and
:math:`Y = (x_3^2 + x_4^2)^{1/2}` only. The paper leaves :math:`x_5` free, so that its density has no integral; here a
wall :math:`0.05 (|x_5| - 40)^2` begins at 40, which changes no energy within and no free energy of X and Y.

Exact reductions: at equilibrium (X, Y), the two angles and :math:`x_5` are independent, and (X, Y) have the energy
:math:`V(X, Y) - kT \ln(X Y)`, whose second term counts the circles that X and Y stand for. Overdamped, (X, Y) and
:math:`x_5` each move by themselves, up to terms of :math:`10^{-7} x_5^2 / X^2`; how fast the angles move depends
on X and Y. ``system.split(x)[0]`` gives X and Y, ``system.states`` discs around the minima.
"""

from collections.abc import Callable, Sequence
from functools import partial
from math import pi
from typing import ClassVar

import torch
from torch import Tensor

from bayescg.arguments import check_positive
from bayescg.errors import ConfigError
from bayescg.systems.analytic import AnalyticSystem, Box, Part

__all__ = ["BOLTZMANN_EV", "MuellerBrown5D", "ThreeWell5D"]

BOLTZMANN_EV = 1.380649e-23 / 1.602176634e-19
"""Boltzmann's constant in eV/K, exact in the SI since 2019."""

COUPLING = 1e-7
WALL_AT, WALL_STIFFNESS = 40.0, 0.1


class _Embedded(AnalyticSystem):
    """A landscape V(X, Y) over five coordinates, with `minima` (X, Y) by name and the `radius` of discs around them.

    Parameters
    ----------
    landscape : callable
        V from X and Y, each (n,), to (n,), in eV.
    barrier : float
        Highest pass between the wells, above the lowest minimum, in eV: the box of (X, Y) must hold it.
    temperature_kT : float
        In eV.
    """

    minima: ClassVar[dict[str, tuple[float, float]]]
    radius: ClassVar[float]

    def __init__(self, landscape: Callable[[Tensor, Tensor], Tensor], barrier: float, temperature_kT: float):
        check_positive(temperature_kT=temperature_kT)

        def reduced(z: Tensor) -> Tensor:
            return landscape(z[:, 0], z[:, 1]) - temperature_kT * z.log().sum(-1)

        def wall(z: Tensor) -> Tensor:
            return 0.5 * WALL_STIFFNESS * (z[:, 0].abs() - WALL_AT).clamp_min(0.0) ** 2

        def energy(x: Tensor) -> Tensor:
            return landscape(*_radii(x)) + wall(x[:, 4:])

        reach = WALL_AT + (50.0 * temperature_kT / WALL_STIFFNESS) ** 0.5
        flat = AnalyticSystem(_flat, temperature_kT=temperature_kT, box=[(-pi, pi)], periodic=[True])
        box = _bounding_box(reduced, barrier + 15.0 * temperature_kT)
        super().__init__(
            energy,
            temperature_kT=temperature_kT,
            parts=[
                Part(AnalyticSystem(reduced, temperature_kT=temperature_kT, box=box), "X, Y"),
                Part(flat, "angle of x1, x2", moves_alone=False),
                Part(flat, "angle of x3, x4", moves_alone=False),
                Part(AnalyticSystem(wall, temperature_kT=temperature_kT, box=[(-reach, reach)]), "x5"),
            ],
        )

    @property
    def bounds(self) -> Box:
        """Sides of a box around all circles of X and of Y."""
        (_, first), (_, second) = self.parts[0].system.box
        return ((-first, first),) * 2 + ((-second, second),) * 2 + self.parts[-1].system.box

    @property
    def observables(self) -> dict[str, Callable[[Tensor], Tensor]]:
        """``X``, ``Y``, and ``X-Y``: (X - Y)/√2, along the diagonal."""
        return {
            "X": lambda x: _radii(x)[0],
            "Y": lambda x: _radii(x)[1],
            "X-Y": lambda x: (_radii(x)[0] - _radii(x)[1]) * 0.5**0.5,
        }

    @property
    def states(self) -> dict[str, Callable[[Tensor], Tensor]]:
        """Discs in the plane of X and Y around its minima."""
        return {name: partial(_in_disc, centre, self.radius) for name, centre in self.minima.items()}

    def split(self, x: Tensor) -> tuple[Tensor, ...]:
        angles = torch.atan2(x[:, 1], x[:, 0]), torch.atan2(x[:, 3], x[:, 2])
        return torch.stack(_radii(x), -1), angles[0][:, None], angles[1][:, None], x[:, 4:]

    def join(self, parts: Sequence[Tensor]) -> Tensor:
        z, first, second, rest = parts
        radius = (z[:, :1] ** 2 - COUPLING * rest**2).clamp_min(0.0).sqrt()
        circles = [radius * first.cos(), radius * first.sin(), z[:, 1:] * second.cos(), z[:, 1:] * second.sin()]
        return torch.cat([*circles, rest], -1)


class MuellerBrown5D(_Embedded):
    r"""The three wells of Müller and Brown, hidden in five coordinates.

    :math:`V = \sum_i A_i \exp[(a_i u^2 + b_i u v + c_i v^2) / 256]` with :math:`u = X - X_i`,
    :math:`v = Y - Y_i`, and the classic coefficients in eV; see the module for X and Y.

    At 300 K, with A at (23.07, 31.07), B at (41.98, 8.45), C at (31.20, 15.47): the barrier of the free energy of
    (X, Y) from A to B is 0.939 eV (36.3 kT), back 0.587 eV, and B lies 0.352 eV above A. Shallow: 0.2030 eV (7.85 kT),
    and 4.56 kT back. The slowest eigenvalue of functions of X and Y is 1.1584e-12, shallow 1.0403e-5 (diffusion kT).

    Parameters
    ----------
    depth : {"deep", "shallow"}
        Shallow: all energies divided by five, for unbiased dynamics.
    temperature_kT : float
        In eV; default: 300 K.

    References
    ----------
    Sun et al., "Multitask machine learning of collective variables for enhanced sampling of rare events", J. Chem.
    Theory Comput. 18, 2341 (2022), arXiv:2012.03909; Müller, Brown, Theor. Chim. Acta 53, 75 (1979).

    Examples
    --------
    >>> MuellerBrown5D("shallow").energy(torch.tensor([[23.07, 0.0, 0.0, 31.07, 5.0]]))
    tensor([-0.2545])
    """

    minima: ClassVar = {"A": (23.07, 31.07), "B": (41.98, 8.45), "C": (31.20, 15.47)}
    radius: ClassVar = 3.0

    def __init__(self, depth: str = "deep", temperature_kT: float = 300.0 * BOLTZMANN_EV):
        if depth not in ("deep", "shallow"):
            raise ConfigError(f"depth={depth!r} is not known here; use 'deep' or 'shallow'")
        divisor = 1.0 if depth == "deep" else 5.0
        unit = 0.04337209302 * 0.2 / divisor

        def landscape(first: Tensor, second: Tensor) -> Tensor:
            u, v = first[:, None] - first.new_tensor(_MB_X), second[:, None] - second.new_tensor(_MB_Y)
            a, b, c = (first.new_tensor(row) / 256.0 for row in (_MB_UU, _MB_UV, _MB_VV))
            return (first.new_tensor(_MB_HEIGHT) * unit * torch.exp(a * u**2 + b * u * v + c * v**2)).sum(-1)

        super().__init__(landscape, 0.94 / divisor, temperature_kT)
        self.depth = depth


_MB_HEIGHT = (-200.0, -100.0, -170.0, 15.0)
_MB_UU, _MB_UV, _MB_VV = (-1.0, -1.0, -6.5, 0.7), (0.0, 0.0, 11.0, 0.6), (-10.0, -10.0, -6.5, 0.7)
_MB_X, _MB_Y = (48.0, 32.0, 24.0, 16.0), (8.0, 16.0, 32.0, 24.0)


class ThreeWell5D(_Embedded):
    r"""Three wells, two of them mirror images, hidden in five coordinates.

    :math:`V = \sum_i A_i \exp[-((X - X_i)^2 + (Y - Y_i)^2) / 16] + D [(X - 15/2)^4 + (Y - 53/6)^4] + 2`, with
    D = 0.2/512, in eV; see the module for X and Y.

    V is the same at L (3.31, 7.33) and R (11.69, 7.33), but the circles of R are longer: at 300 K the populations are
    0.221 and 0.779. The upper well U lies at (7.5, 13.65). The barriers of the free energy of (X, Y) are 1.151 eV
    (44.5 kT) from L to R, by way of U, 1.183 eV back, and 0.277 eV from U to L.

    Parameters
    ----------
    temperature_kT : float
        In eV; default: 300 K.

    References
    ----------
    Sun et al., "Multitask machine learning of collective variables for enhanced sampling of rare events", J. Chem.
    Theory Comput. 18, 2341 (2022), arXiv:2012.03909.

    Examples
    --------
    >>> wells = torch.tensor([[3.31, 0.0, 7.33, 0.0, 0.0], [0.0, 11.69, 0.0, 7.33, 0.0]])
    >>> ThreeWell5D().energy(wells).abs().max() < 0.003
    tensor(True)
    """

    minima: ClassVar = {"L": (3.31, 7.33), "R": (11.69, 7.33), "U": (7.5, 13.65)}
    radius: ClassVar = 1.0

    def __init__(self, temperature_kT: float = 300.0 * BOLTZMANN_EV):
        def landscape(first: Tensor, second: Tensor) -> Tensor:
            square = (first[:, None] - first.new_tensor(_TW_X)) ** 2 + (second[:, None] - second.new_tensor(_TW_Y)) ** 2
            wells = (first.new_tensor(_TW_HEIGHT) * torch.exp(-square / 16.0)).sum(-1)
            return wells + _TW_QUARTIC * ((first - 7.5) ** 4 + (second - 53.0 / 6.0) ** 4) + 2.0

        super().__init__(landscape, 1.18, temperature_kT)


_TW_HEIGHT = (1.5, -1.5, -2.5, -2.5)
_TW_X, _TW_Y = (7.5, 7.5, 11.5, 3.5), (53.0 / 6.0, 85.0 / 6.0, 7.5, 7.5)
_TW_QUARTIC = 0.2 / 4**4 / 2


def _radii(x: Tensor) -> tuple[Tensor, Tensor]:
    first = torch.linalg.vector_norm(x[:, [0, 1, 4]] * x.new_tensor([1.0, 1.0, COUPLING**0.5]), dim=-1)
    return first, torch.linalg.vector_norm(x[:, 2:4], dim=-1)


def _in_disc(centre: tuple[float, float], radius: float, x: Tensor) -> Tensor:
    first, second = _radii(x)
    return (first - centre[0]) ** 2 + (second - centre[1]) ** 2 < radius**2


def _flat(z: Tensor) -> Tensor:
    return z[:, 0] * 0.0


def _bounding_box(energy: Callable[[Tensor], Tensor], level: float) -> list[tuple[float, float]]:
    """Box around all points of the quadrant up to 100 whose energy is at most `level` above the lowest."""
    points = torch.arange(0.25, 100.0, 0.5, dtype=torch.float64)
    values = energy(torch.cartesian_prod(points, points)).reshape(len(points), -1)
    low = values <= values.min() + level
    box = []
    for inside in (points[low.any(1)], points[low.any(0)]):
        box.append((max(float(inside[0]) - 0.5, 0.02), float(inside[-1]) + 0.5))  # x5 alone makes X at most 0.014
    return box
