"""Adam over named tensors that may carry a leading axis of members, with clipping a member and a state to save."""

import math

import torch
from torch import Tensor
from torch.optim.adam import adam

from bayescg.inference.functional import Params

__all__ = ["Adam", "clipped", "learning_rate"]


def learning_rate(step: int, steps: int, peak: float) -> float:
    """Linear warm-up over the first 2 % of the steps, then a cosine down to a hundredth of the peak.

    Examples
    --------
    >>> learning_rate(20, 1000, 1.0), round(learning_rate(1000, 1000, 1.0), 4)
    (1.0, 0.01)
    """
    warm = max(1, steps // 50)
    if step < warm:
        return peak * (step + 1) / warm
    fraction = (step - warm) / max(1, steps - warm)
    return peak * (0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * fraction)))


def clipped(grads: Params, loss: Tensor, clip: float, members: bool) -> tuple[Params, Tensor]:
    """Gradients of norm at most `clip`, each member's by itself, and 1 where loss or gradient is not finite, else 0.

    Examples
    --------
    >>> grads, bad = clipped({"a": torch.tensor([3.0, 4.0])}, torch.tensor(0.0), 1.0, members=False)
    >>> grads["a"], bad
    (tensor([0.6000, 0.8000]), tensor(0.))
    """
    rows = [g.reshape(len(g) if members else 1, -1) for g in grads.values()]
    norm = torch.stack([r.square().sum(1) for r in rows]).sum(0).sqrt()
    factor = (clip / norm.clamp_min(1e-30)).clamp_max(1.0)
    shaped = {k: factor.view(-1, *[1] * (g.dim() - 1)) if members else factor[0] for k, g in grads.items()}
    finite = torch.isfinite(norm).all() & torch.isfinite(loss).all()
    return {k: g * shaped[k] for k, g in grads.items()}, 1.0 - finite.float()


class Adam:
    """Adam (Kingma & Ba 2015) whose state is a plain dictionary of tensors, in one fused kernel a step.

    Parameters
    ----------
    params : dict of str to Tensor
        Updated in place by `step`.
    """

    def __init__(self, params: Params):
        self.params = params
        self.mean = {k: torch.zeros_like(v) for k, v in params.items()}
        self.square = {k: torch.zeros_like(v) for k, v in params.items()}
        self.count = {k: torch.zeros((), device=v.device) for k, v in params.items()}

    def step(self, grads: Params, rate: Tensor | float, bad: Tensor) -> None:
        """One update with the given gradients; none at all where `bad` is 1."""
        adam(
            list(self.params.values()),
            [grads[k] for k in self.params],
            list(self.mean.values()),
            list(self.square.values()),
            [],
            list(self.count.values()),
            fused=True,
            grad_scale=None,
            found_inf=bad,
            amsgrad=False,
            beta1=0.9,
            beta2=0.999,
            lr=rate,  # type: ignore[arg-type]
            weight_decay=0.0,
            eps=1e-8,
            maximize=False,
        )

    def state(self) -> Params:
        """Moments and step counts by name."""
        parts = {"exp_avg": self.mean, "exp_avg_sq": self.square, "step": self.count}
        return {f"{key}/{name}": value for key, part in parts.items() for name, value in part.items()}

    def load(self, state: Params) -> None:
        """Take back what `state` returned."""
        for name, value in self.state().items():
            value.copy_(state[name])
