"""Eigenfunctions of the generator by the loss of the papers, with a penalty, beside which ours is measured."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from bayescg import nets
from bayescg.models import GeneratorEigenfunctions


class PenalisedEigenfunctions(GeneratorEigenfunctions):
    r"""k outputs of the net, and :math:`\sum_i \omega_i \lambda[f_i] + \alpha \sum_{i \le j} (\mathrm{Cov}(f_i, f_j) -
    \delta_{ij})^2` with weights :math:`\omega_i` from 1 down to 0.6.

    Parameters
    ----------
    alpha : float
        A rate: the eigenfunctions are a minimum only above
        :math:`\omega_i \omega_j (\lambda_j - \lambda_i) / (\omega_i - \omega_j)` for every pair i < j.

    References
    ----------
    Zhang, Li, Schütte, J. Comput. Phys. 465, 111377 (2022), eq. (22); Zhang, Schütte, arXiv:2307.00365 (2023).
    """

    def __init__(self, modes: int = 3, diffusion: Any = None, hidden: Sequence[int] = (32, 32), alpha: float = 20.0):
        super().__init__(modes, diffusion=diffusion, hidden=hidden)
        self.alpha = alpha

    def build(self, size: int) -> None:
        self.forms = nets.DirichletForms(size, self.hidden, self.modes)
        self.ritz = nets.RitzModes(self.modes, self.modes)

    def loss(self, y: Tensor, metric: Tensor | None, w: Tensor) -> Tensor:
        """The largest weight goes to the smallest Rayleigh quotient."""
        energy, covariance = self.forms.of(y, metric, w, torch.eye(self.modes).to(y))
        rates = energy / covariance.diagonal()
        order = rates.detach().argsort().argsort()
        omega = torch.linspace(1.0, 0.6, self.modes).to(rates)[order]
        misfit = torch.tril(covariance - torch.eye(self.modes).to(rates)).square().sum()
        return (omega * rates).sum() + self.alpha * misfit
