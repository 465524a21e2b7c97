"""Time steps far longer than an integrator's, by predicting where they lead: fast, and not symplectic."""

from __future__ import annotations

from typing import Any

import pyro
import pyro.distributions as dist
import torch
from pyro import poutine
from torch import Tensor

from bayescg import nets
from bayescg.arguments import check_counts
from bayescg.data import Pairs
from bayescg.errors import DataError
from bayescg.modelling import Batch, MapModel
from bayescg.sampling import short_trajectories
from bayescg.systems import HenonHeiles, System

_FIRST_LENGTHS = (3.0, 6.0)


class DirectMap(MapModel):
    r"""The displacement over a time step as a Gaussian process of where it begins, as FlashMD's network predicts it.

    .. math:: (q' - q, p' - p) = s\, W \phi(q, p) + N(0, \sigma^2), \qquad W_{ik} \sim N(0, a_i^2),

    with random functions :math:`\phi`, and each component's own prior and noise, of largest evidence. One evaluation a
    step, and no structure: energy drifts, and different degrees of freedom come to different temperatures, however
    small the errors of a step are. It is the peer of :class:`bayescg.models.ActionMap`, and a first guess for the
    iteration that solves that one's step.

    The posterior of W is widened by one factor, as that of the action is.

    Parameters
    ----------
    system : System, optional
        Only its masses are read.
    lag : float, optional
        Time step; the pairs tell.
    waves : int
        Random functions.
    dim : int, optional
        Number of coordinates; the system or the pairs tell.

    References
    ----------
    F. Bigi, S. Chong, A. Kristiadi, M. Ceriotti, "FlashMD: long-stride, universal prediction of molecular dynamics",
    arXiv:2505.19350 (2025).

    Examples
    --------
    >>> model, pairs, _ = DirectMap.example()
    >>> model.setup(pairs)
    >>> q, p, *_ = model.states(pairs)
    >>> model.displacement(q, p)[0].shape
    torch.Size([40, 2])
    """

    implicit = False
    citation = "Bigi, Chong, Kristiadi, Ceriotti, arXiv:2505.19350 (2025)"

    def __init__(
        self, system: System | None = None, lag: float | None = None, waves: int = 200, dim: int | None = None
    ):
        super().__init__()
        check_counts(waves=(waves, 2))
        self.waves = waves
        self.begin_map(system, lag, dim)

    def build(self, dim: int) -> None:
        """The functions, and their weights for each component."""
        self.functions = nets.RandomWaves(dim, self.waves, even=False)
        self.begin_weights(2 * dim, self.waves)

    def displacement(self, q: Tensor, p: Tensor, lag: float | None = None) -> tuple[Tensor, Tensor]:
        """Changes of positions and momenta, each ``(n, dim)``, from where a step begins."""
        dq, dp = (self._scaled_change(q, p, self.weight) * self.units()).chunk(2, -1)
        return dq, dp

    def _scaled_change(self, q: Tensor, p: Tensor, weight: Tensor) -> Tensor:
        return self.functions(*self.scaled(q, p)) @ weight.T

    def _observed(self, batch: Batch) -> tuple[Tensor, Tensor, Tensor]:
        states: Any = (batch.x, batch.momenta, batch.y, batch.later_momenta)
        q, p, later_q, later_p = states
        return q, p, torch.cat([later_q - q, later_p - p], -1) / self.units()

    def model(self, batch: Batch) -> None:
        """Weights ~ N(0, (c a)^2); displacements ~ N(W phi, sigma^2), of which each counts 1/c^2."""
        factor = self.factors[-1]
        spread = (factor * self.spread)[:, None].expand_as(self.weight)
        weight = pyro.sample("weight", dist.Normal(torch.zeros_like(self.weight), spread).to_event(2))
        q, p, change = self._observed(batch)
        with batch.plate("frames"), poutine.scale(scale=factor**-2):
            predicted = dist.Normal(self._scaled_change(q, p, weight), self.noise).to_event(1)
            pyro.sample("displacement", predicted, obs=change)

    def residual(self, batch: Batch, weight: Tensor) -> Tensor:
        """What predictions with these weights are off, in scaled units, ``(n, 2 dim)``."""
        q, p, change = self._observed(batch)
        return self._scaled_change(q, p, weight) - change

    def setup(self, pairs: Pairs) -> None:
        """Take scales, and the lengths of largest evidence, octave by octave uphill.

        Raises
        ------
        DataError
            As :meth:`bayescg.modelling.MapModel.setup`, or the pairs are of several lags.
        """
        super().setup(pairs)
        if len(self.lags) > 1:
            raise DataError(
                f"DirectMap learns one step, and these pairs are of lags {self.lags}: give pairs of one lag"
            )
        evidence = lambda: sum(posterior.evidence for posterior in self._posteriors(pairs))  # noqa: E731
        nets.uphill(evidence, self.functions.lengths, _FIRST_LENGTHS)

    def solve(self, pairs: Pairs, weight: Tensor) -> None:
        """Weights, priors and noises in closed form; then the factor."""
        errors, variances = [], []
        for row, posterior in enumerate(self._posteriors(pairs, weight)):
            with torch.no_grad():
                self.weight[row] = posterior.mean
            self.spread[row], self.noise[row] = posterior.spread, posterior.noise
            if posterior.noiseless(1):
                error, variance = posterior.left_out(1)
                errors.append(error)
                variances.append(variance)
        if errors:
            self.calibrate(torch.cat(errors, 1), torch.cat(variances, 1), pairs.lags, least=1.0)

    def _posteriors(self, pairs: Pairs, weight: Tensor | None = None) -> list[nets.LinearPosterior]:
        q, p, later_q, later_p = self.states(pairs)
        change = torch.cat([later_q - q, later_p - p], -1) / self.units()
        design = self.functions(*self.scaled(q, p))
        return [nets.LinearPosterior.of(design, y, weight) for y in change.T]

    @classmethod
    def example(cls) -> tuple[DirectMap, Any, None]:
        """Pairs of Hénon and Heiles's oscillator."""
        system = HenonHeiles()
        return cls(waves=20), short_trajectories(system, system.shell(40), lag=0.5, accuracy=1e-8), None
