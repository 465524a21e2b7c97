"""Densities with very many or very distant modes, on which samplers without data are tried."""

from math import e, log, pi, sqrt

import torch
from torch import Tensor

from bayescg.systems.analytic import AnalyticSystem, Part
from bayescg.systems.wells import Harmonic, cut

__all__ = ["GaussianMixture", "ManyWell32"]


class ManyWell32(AnalyticSystem):
    r"""Sixteen double wells, :math:`U = \sum_{i=1}^{16} x_i^4 - 6 x_i^2 - x_i / 2 + y_i^2 / 2`: 65 536 modes.

    Coordinates are :math:`x_1, y_1, x_2, y_2, ...`. At kT = 1, log Z = 164.69568, and the slowest eigenvalue, of every
    :math:`x_i`, is 0.000861.

    Parameters
    ----------
    temperature_kT : float

    References
    ----------
    Noé, Olsson, Köhler, Wu, "Boltzmann generators", Science 365, eaaw1147 (2019), for one copy; Midgley et al., "Flow
    annealed importance sampling bootstrap", ICLR 2023, arXiv:2208.01893, for sixteen.

    Examples
    --------
    >>> ManyWell32().energy(torch.ones(32))
    tensor(-80.)
    """

    def __init__(self, temperature_kT: float = 1.0):
        def along(x: Tensor) -> Tensor:
            return x**4 - 6.0 * x**2 - 0.5 * x

        reach = sqrt(3.0 + sqrt(cut(temperature_kT) + 2.0))
        well = AnalyticSystem(lambda x: along(x[:, 0]), temperature_kT=temperature_kT, box=[(-reach, reach)])
        pair = [Part(well, "x"), Part(Harmonic((1.0,), temperature_kT), "y")]
        super().__init__(
            lambda x: (along(x[:, ::2]) + 0.5 * x[:, 1::2] ** 2).sum(-1),
            temperature_kT=temperature_kT,
            parts=pair * 16,
        )


class GaussianMixture(AnalyticSystem):
    r"""Forty equal round Gaussians strewn over the square :math:`[-40, 40]^2`: U is minus the log of their density.

    The standard deviation is log(1 + e) = 1.3133; the centres are the published ones, drawn from torch's seed 0.
    At kT = 1, log Z = 0.

    Parameters
    ----------
    temperature_kT : float
        In units of the energy, which has none here: the density is the mixture's to the power 1 / kT.

    Attributes
    ----------
    means : torch.Tensor, shape (40, 2)

    References
    ----------
    Midgley et al., "Flow annealed importance sampling bootstrap", ICLR 2023, arXiv:2208.01893.

    Examples
    --------
    >>> mixture = GaussianMixture()
    >>> mixture.means.shape, mixture.energy(mixture.means).max() < 10.0
    (torch.Size([40, 2]), tensor(True))
    """

    def __init__(self, temperature_kT: float = 1.0):
        uniform = torch.rand((40, 2), generator=torch.Generator().manual_seed(0))
        means, variance = (80.0 * (uniform - 0.5)).double(), log(1.0 + e) ** 2

        def energy(x: Tensor) -> Tensor:
            square = ((x[:, None] - means.to(x)) ** 2).sum(-1)
            return log(40 * 2 * pi * variance) - torch.logsumexp(-0.5 * square / variance, -1)

        reach = 40.0 + sqrt(2 * cut(temperature_kT) * variance)
        super().__init__(energy, temperature_kT=temperature_kT, box=[(-reach, reach)] * 2)
        self.means = means
