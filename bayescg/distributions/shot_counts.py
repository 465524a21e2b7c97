"""Counts of independent shots over several outcomes, with a number of shots of its own for each row."""

from typing import Any, ClassVar

import pyro.distributions as dist
import torch
from torch import Tensor
from torch.distributions import constraints

__all__ = ["ShotCounts"]


class ShotCounts(dist.TorchDistribution):
    r"""Multinomial counts, :math:`p(k) = \frac{n!}{\prod_r k_r!} \prod_r p_r^{k_r}`, of n shots, any n in each row.

    (torch's own has one n for all rows.) A row without shots has probability one.

    Parameters
    ----------
    shots : Tensor, (...)
        Number of shots.
    logits : Tensor, (..., outcomes)
        Log probabilities of the outcomes, up to a constant.

    Examples
    --------
    >>> two = ShotCounts(torch.tensor([2.0, 0.0]), torch.zeros(2, 2))
    >>> two.log_prob(torch.tensor([[1.0, 1.0], [0.0, 0.0]])).exp()
    tensor([0.5000, 1.0000])
    """

    arg_constraints: ClassVar[dict[str, Any]] = {
        "shots": constraints.nonnegative_integer,
        "logits": constraints.real_vector,
    }
    support = constraints.independent(constraints.nonnegative_integer, 1)  # type: ignore[assignment]

    def __init__(self, shots: Tensor, logits: Tensor, validate_args: bool | None = None):
        batch = torch.broadcast_shapes(shots.shape, logits.shape[:-1])
        self.shots, self.logits = shots.expand(batch), logits.expand(*batch, logits.shape[-1])
        super().__init__(batch, logits.shape[-1:], validate_args=validate_args)

    def log_prob(self, value: Tensor) -> Tensor:
        """Log probability of counts (..., outcomes), which are to add up to the number of shots."""
        shots, value = self.shots.to(self.logits), value.to(self.logits)
        ways = torch.lgamma(shots + 1) - torch.lgamma(value + 1).sum(-1)
        return ways + (value * self.logits.log_softmax(-1)).sum(-1)

    def sample(self, sample_shape: torch.Size = torch.Size()) -> Tensor:  # noqa: B008
        """Counts, one outcome after another from what is left."""
        probs = self.logits.softmax(-1)
        left = self.shots.expand(*sample_shape, *self.batch_shape).to(probs)
        rest, counts = torch.ones_like(probs[..., 0]), []
        for p in probs.unbind(-1)[:-1]:
            counts.append(torch.binomial(left, (p / rest).clamp(0, 1).expand_as(left)))
            left, rest = left - counts[-1], rest - p
        return torch.stack([*counts, left], -1)
