r"""Potentials with several wells, in reduced units, on which methods of slow modes and free energies are tried.

Overdamped dynamics means :math:`dx = -\nabla U dt + \sqrt{2 kT} dW` here: the diffusion constant is kT. All numbers
in the docstrings come from :mod:`bayescg.truth`.
"""

from collections.abc import Sequence
from math import pi, sqrt

import torch
from torch import Tensor

from bayescg.arguments import check_counts, check_positive
from bayescg.errors import ConfigError
from bayescg.systems.analytic import AnalyticSystem, Part

__all__ = [
    "CurvedWell",
    "DoubleWell",
    "Harmonic",
    "Prinz",
    "QuadrupleWell",
    "QuarticDoubleWell",
    "RippledWell",
    "ThreeWellRing",
]


def cut(temperature_kT: float) -> float:
    """Energy above its minimum at which boxes end, 25 kT: beyond lies about 1e-11 of the probability.

    Raises
    ------
    ConfigError
        The temperature is not positive.
    """
    check_positive(temperature_kT=temperature_kT)
    return 25.0 * temperature_kT


class Harmonic(AnalyticSystem):
    r"""Independent springs, :math:`U = \sum_i k_i x_i^2 / 2`: overdamped, the Ornstein-Uhlenbeck process.

    Exact: the eigenvalues of each coordinate are :math:`n k_i`, its eigenfunctions Hermite polynomials of
    :math:`x_i \sqrt{k_i / kT}`, its variance :math:`kT / k_i`, and :math:`\log Z = \sum_i \log(2 \pi kT / k_i) / 2`.

    Parameters
    ----------
    stiffness : sequence of float
        :math:`k_i`, one for each coordinate.
    temperature_kT : float

    Raises
    ------
    ConfigError
        There is no stiffness, or one is not positive.

    Examples
    --------
    >>> Harmonic((1.0, 4.0)).energy(torch.tensor([[1.0, 1.0]]))
    tensor([2.5000])
    """

    def __init__(self, stiffness: Sequence[float] = (1.0,), temperature_kT: float = 1.0):
        if not isinstance(stiffness, Sequence) or not stiffness:
            raise ConfigError(f"stiffness={stiffness!r} must be a sequence with one number for each coordinate: (1.0,)")
        check_positive(**{f"stiffness[{i}]": k for i, k in enumerate(stiffness)})

        def energy(x: Tensor) -> Tensor:
            return 0.5 * (x.new_tensor(stiffness) * x**2).sum(-1)

        if len(stiffness) > 1:
            parts = [Part(Harmonic((k,), temperature_kT), f"x{i + 1}") for i, k in enumerate(stiffness)]
            super().__init__(energy, temperature_kT=temperature_kT, parts=parts)
        else:
            reach = sqrt(2 * cut(temperature_kT) / stiffness[0])
            super().__init__(energy, temperature_kT=temperature_kT, box=[(-reach, reach)])
        self.stiffness = tuple(stiffness)


class DoubleWell(AnalyticSystem):
    r"""Two unequal wells in the plane, :math:`U = x_1^4/4 - 3 x_1^2 + x_1 + x_2^2/2`.

    At kT = 1: log Z = 12.06493; the left well holds 0.991654, so that the right one lies 4.7776 kT higher; the mean of
    :math:`x_1` is -2.44110, and the slowest eigenvalue 0.00151738. Minima at :math:`x_1` = -2.52892 and 2.36147,
    barrier at 0.16745.

    Parameters
    ----------
    temperature_kT : float

    References
    ----------
    Schöberl, Zabaras, Koutsourelakis, "Embedded-physics machine learning for coarse-graining and collective variable
    discovery without data", arXiv:2002.10148 (2020), section on the double well.

    Examples
    --------
    >>> DoubleWell().energy(torch.tensor([[2.0, 0.0], [-2.0, 1.0]]))
    tensor([-6.0000, -9.5000])
    """

    def __init__(self, temperature_kT: float = 1.0):
        def along(x: Tensor) -> Tensor:
            return 0.25 * x[:, 0] ** 4 - 3.0 * x[:, 0] ** 2 + x[:, 0]

        reach = sqrt(6.0 + 2.0 * sqrt(cut(temperature_kT) + 1.0))
        first = AnalyticSystem(along, temperature_kT=temperature_kT, box=[(-reach, reach)])
        super().__init__(
            lambda x: along(x) + 0.5 * x[:, 1] ** 2,
            temperature_kT=temperature_kT,
            parts=[Part(first, "x1"), Part(Harmonic((1.0,), temperature_kT), "x2")],
        )


class QuarticDoubleWell(AnalyticSystem):
    r"""Two equal wells along one coordinate, :math:`U = (x_1^2 - 1)^2`, and :math:`x_i^2` along any further ones.

    Eigenvalues along :math:`x_1`: 0.748681, 6.0041, 11.66 at kT = 1 and 0.029780, 3.310 at kT = 1/4, the temperature of
    deeptime's ``double_well_2d`` (dim = 2); those of a further coordinate are 2, 4, ... at any temperature.

    Parameters
    ----------
    dim : int
    temperature_kT : float

    References
    ----------
    Hoffmann et al., "Deeptime", Mach. Learn.: Sci. Technol. 3, 015009 (2022), data set ``double_well_2d``.

    Examples
    --------
    >>> QuarticDoubleWell().energy(torch.tensor([[-1.0], [0.0]]))
    tensor([0., 1.])
    """

    def __init__(self, dim: int = 1, temperature_kT: float = 1.0):
        check_counts(dim=(dim, 1))

        def along(x: Tensor) -> Tensor:
            return (x[:, 0] ** 2 - 1.0) ** 2

        if dim > 1:
            spring = Part(Harmonic((2.0,), temperature_kT), "x2" if dim == 2 else f"x2 to x{dim}")
            parts = [Part(QuarticDoubleWell(1, temperature_kT), "x1"), *[spring] * (dim - 1)]
            super().__init__(lambda x: along(x) + (x[:, 1:] ** 2).sum(-1), temperature_kT=temperature_kT, parts=parts)
        else:
            reach = sqrt(1.0 + sqrt(cut(temperature_kT)))
            super().__init__(along, temperature_kT=temperature_kT, box=[(-reach, reach)])


class QuadrupleWell(AnalyticSystem):
    r"""Four equal wells in the plane, :math:`U = (x_1^2 - 1)^2 + (x_2^2 - 1)^2`.

    Its slowest eigenvalue is double, by symmetry: 0.029780 twice, then 0.059560 and 3.310 at kT = 1/4. Any rotation of
    the first two eigenfunctions is as good a pair; only the plane that they span means anything.

    Parameters
    ----------
    temperature_kT : float

    References
    ----------
    Hoffmann et al., "Deeptime", Mach. Learn.: Sci. Technol. 3, 015009 (2022), at kT = 1/4.

    Examples
    --------
    >>> QuadrupleWell(temperature_kT=0.25).energy(torch.tensor([[1.0, -1.0], [0.0, 0.0]]))
    tensor([0., 2.])
    """

    def __init__(self, temperature_kT: float = 1.0):
        well = QuarticDoubleWell(1, temperature_kT)
        super().__init__(
            lambda x: ((x**2 - 1.0) ** 2).sum(-1),
            temperature_kT=temperature_kT,
            parts=[Part(well, "x1"), Part(well, "x2")],
        )


class Prinz(AnalyticSystem):
    r"""Four wells on a line, :math:`U = 4 (x^8 + 0.8 e^{-80 x^2} + 0.2 e^{-80 (x - 1/2)^2} + 0.5 e^{-40 (x + 1/2)^2})`.

    At kT = 1 the eigenvalues are 1.19898, 7.8885, 15.3614 and 82.08, the implied timescales 0.8340, 0.1268 and 0.0651;
    minima at -0.7394, -0.2237, 0.2691 and 0.6733.

    Parameters
    ----------
    temperature_kT : float

    References
    ----------
    Prinz et al., "Markov models of molecular kinetics", J. Chem. Phys. 134, 174105 (2011).

    Examples
    --------
    >>> Prinz().energy(torch.tensor([[0.0]])).item()
    3.2000...
    """

    def __init__(self, temperature_kT: float = 1.0):
        def energy(x: Tensor) -> Tensor:
            x = x[:, 0]
            bumps = (
                0.8 * (-80.0 * x**2).exp() + 0.2 * (-80.0 * (x - 0.5) ** 2).exp() + 0.5 * (-40.0 * (x + 0.5) ** 2).exp()
            )
            return 4.0 * (x**8 + bumps)

        reach = (0.25 * cut(temperature_kT) + 0.3) ** 0.125
        super().__init__(energy, temperature_kT=temperature_kT, box=[(-reach, reach)])


class CurvedWell(AnalyticSystem):
    r"""Two wells at the ends of a curved valley, :math:`U = (x_1^2 - 1)^2 + (x_1^2 + x_2 - 1)^2 / \epsilon`.

    The valley bends, so that the direction of largest variance is not the slow one. Eigenvalues with
    :math:`\epsilon` = 0.5: 0.4482, 1.2964, 2.1914 at kT = 1; 0.1600, 1.0955, 1.6209 at kT = 1/2; 0.024656, 1.03642,
    1.23836 at kT = 1/4. With :math:`\epsilon` = 0.1 and kT = 1: 0.4258, 1.5903, 2.6211.

    The map :math:`y = x_1^2 + x_2 - 1` has Jacobian one, so :math:`x_1` and y are independent at equilibrium and
    :math:`Z = Z_1 \sqrt{\pi \epsilon kT}` with :math:`Z_1` that of :math:`(x_1^2 - 1)^2`; they do not move
    independently.

    Parameters
    ----------
    epsilon : float
        Squared width of the valley.
    temperature_kT : float

    References
    ----------
    Zhang, Li, Schütte, "Solving eigenvalue PDEs of metastable diffusion processes using artificial neural networks",
    J. Comput. Phys. 465, 111377 (2022), arXiv:2110.14523: one of the potentials of the code published with it.

    Examples
    --------
    >>> CurvedWell().energy(torch.tensor([[1.0, 0.0], [0.0, 1.0]]))
    tensor([0., 1.])
    """

    def __init__(self, epsilon: float = 0.5, temperature_kT: float = 1.0):
        check_positive(epsilon=epsilon)

        def energy(x: Tensor) -> Tensor:
            square = x[:, 0] ** 2 - 1.0
            return square**2 + (square + x[:, 1]) ** 2 / epsilon

        depth = cut(temperature_kT)  # of the level set {U < depth}, whose extent follows from a = x1^2 - 1 >= -1
        across = sqrt(1.0 + sqrt(depth))
        box = [(-across, across), (-sqrt(depth * (1.0 + epsilon)), 1.0 + sqrt(depth * epsilon))]
        super().__init__(energy, temperature_kT=temperature_kT, box=box)
        self.epsilon = float(epsilon)


class RippledWell(AnalyticSystem):
    r"""Two wells along x under a ripple, :math:`U = (x-4)(x-2)(x+2)(x+3)/50 + y^2/20 + \sin(3(x+5)(y-6))/25`.

    Coarse-grained to x, the force along x is noise around minus the slope of the potential of mean force F: at kT = 1
    its variance given x is 0.33113 for every x, and the mean square of the slope 0.9975. F is the quartic to 0.012
    (:attr:`mean_potential` has it exactly): minima at -2.546 and 3.172, a barrier at 0.124, 1.1125 above the left
    minimum; the right minimum lies 0.4720 below the left one, and F(4.5) 1.8383 above it. The probability of
    x < 0.125 is exp(-0.42289) times that of the rest.

    Parameters
    ----------
    temperature_kT : float

    References
    ----------
    Wang et al., "Machine learning of coarse-grained molecular dynamics force fields", ACS Cent. Sci. 5, 755 (2019):
    a system of this form; the constants are those written here.

    Examples
    --------
    >>> RippledWell().energy(torch.tensor([[-3.0, 0.0], [2.0, 6.0]]))
    tensor([0.0397, 1.8000])
    """

    def __init__(self, temperature_kT: float = 1.0):
        def along(x: Tensor) -> Tensor:
            return (x - 4.0) * (x - 2.0) * (x + 2.0) * (x + 3.0) / 50.0

        def energy(x: Tensor) -> Tensor:
            ripple = (3.0 * (x[:, 0] + 5.0) * (x[:, 1] - 6.0)).sin() / 25.0
            return along(x[:, 0]) + x[:, 1] ** 2 / 20.0 + ripple

        width = sqrt(20.0 * cut(temperature_kT))
        reach = 3.0 + (50.0 * cut(temperature_kT)) ** 0.25
        super().__init__(energy, temperature_kT=temperature_kT, box=[(-reach, reach), (-width, width)])

    @property
    def mean_potential(self) -> AnalyticSystem:
        """The potential of mean force along x, by quadrature over y."""
        (x_range, (low, high)), kT = self.box, self.kT
        y = torch.linspace(low, high, 1601, dtype=torch.float64)  # the rule converges faster than any power

        def energy(x: Tensor) -> Tensor:
            plane = torch.stack(torch.broadcast_tensors(x, y.to(x.device)), -1)
            return -kT * torch.logsumexp(-self.energy(plane) / kT, -1).to(x) - kT * float((y[1] - y[0]).log())

        return AnalyticSystem(energy, temperature_kT=kT, box=[x_range])


class ThreeWellRing(AnalyticSystem):
    r"""Three wells on a ring, in the first two of `dim` coordinates; springs along all others.

    With :math:`\theta = \mathrm{atan2}(x_2, x_1)` and :math:`r = |(x_1, x_2)|`,
    :math:`U = V(\theta) + 2 (r - 1)^2 + 5 e^{-5 r^2} + 5 \sum_{i > 2} x_i^2`, where
    :math:`V = 3/5 - (2/5) \cos 3\theta` for :math:`|\theta| < \pi/3` and
    :math:`V = (1 - (3 |\theta| / \pi - 1)^2)^2` beyond: wells at :math:`\theta = \pm 2\pi/3`, and a shallow one at 0.

    At kT = 1 the eigenvalues are 0.2188, 0.7637, 2.790, 4.043 and 5.458. The springs add 10, 20, ... and sums with
    these, so that the first five are the same in every dimension. (The paper's figure draws 2.760 for the third.)

    Parameters
    ----------
    dim : int
        2, 50 and 100 in the paper.
    temperature_kT : float

    Raises
    ------
    ConfigError
        `dim` is less than 2.

    References
    ----------
    Zhang, Li, Schütte, "Solving eigenvalue PDEs of metastable diffusion processes using artificial neural networks",
    J. Comput. Phys. 465, 111377 (2022), arXiv:2110.14523, first example.

    Examples
    --------
    >>> ThreeWellRing(dim=50).energy(torch.zeros(3, 50)).shape
    torch.Size([3])
    """

    def __init__(self, dim: int = 2, temperature_kT: float = 1.0):
        check_counts(dim=(dim, 2))
        if dim > 2:
            springs = [Part(Harmonic((10.0,), temperature_kT), f"x3 to x{dim}")] * (dim - 2)
            parts = [Part(ThreeWellRing(2, temperature_kT), "x1, x2"), *springs]
            super().__init__(
                lambda x: _ring(x) + 5.0 * (x[:, 2:] ** 2).sum(-1), temperature_kT=temperature_kT, parts=parts
            )
        else:
            reach = 1.0 + sqrt(0.5 * cut(temperature_kT))
            super().__init__(_ring, temperature_kT=temperature_kT, box=[(-reach, reach)] * 2)


def _ring(x: Tensor) -> Tensor:
    square = (x[:, :2] ** 2).sum(-1)
    centre = square == 0  # where there is no angle, and its gradient would be NaN
    angle = torch.atan2(x[:, 1], torch.where(centre, 1.0, x[:, 0])).abs()
    deep = (1.0 - (3.0 * angle / pi - 1.0) ** 2) ** 2
    shallow = 0.6 - 0.4 * torch.cos(3.0 * angle)
    radius = torch.where(centre, 1.0, square).sqrt() * ~centre
    return torch.where(angle < pi / 3, shallow, deep) + 2.0 * (radius - 1.0) ** 2 + 5.0 * torch.exp(-5.0 * square)
