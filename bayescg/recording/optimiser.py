"""Adam over named tensors that may carry a leading axis of members, with clipping a member and a state to save."""

import math

import torch
from torch import Tensor

from bayescg.recording.functional import Params

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
    fraction = min(1.0, (step - warm) / max(1, steps - warm))
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
    return {k: (g * shaped[k]).contiguous() for k, g in grads.items()}, 1.0 - finite.float()


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
        self.count = torch.zeros((), device=next(iter(params.values())).device)
        # the kernel takes one precision at a time
        self._names = [[k for k, v in params.items() if v.dtype == d] for d in {v.dtype: 0 for v in params.values()}]

    def step(self, grads: Params, rate: float, bad: Tensor | None = None) -> None:
        """One update with the given gradients; none at all where `bad` is 1."""
        self.count += 1 if bad is None else 1 - bad
        fused = getattr(torch, "_fused_adam_", _adam)
        for names in self._names:
            # the kernel beneath torch.optim.Adam(fused=True), whose own bookkeeping takes longer than the update
            fused(
                [self.params[k] for k in names],
                [_laid_out(grads[k], self.params[k]) for k in names],
                [self.mean[k] for k in names],
                [self.square[k] for k in names],
                [],
                [self.count] * len(names),
                lr=rate,
                beta1=0.9,
                beta2=0.999,
                weight_decay=0.0,
                eps=1e-8,
                amsgrad=False,
                maximize=False,
                grad_scale=None,
                found_inf=bad,
            )

    def state(self) -> Params:
        """Moments by name, and the count of steps."""
        parts = {"exp_avg": self.mean, "exp_avg_sq": self.square}
        return {"step": self.count} | {f"{k}/{name}": v for k, part in parts.items() for name, v in part.items()}

    def load(self, state: Params) -> None:
        """Take back what `state` returned."""
        for name, value in self.state().items():
            value.copy_(state[name])


def _laid_out(grad: Tensor, like: Tensor) -> Tensor:
    """A gradient in memory as its parameter is: the kernel walks through memory and looks at no strides."""
    same = grad.stride() == like.stride() and grad.dtype == like.dtype
    return grad if same else torch.empty_like(like).copy_(grad)


def _adam(
    params: list[Tensor],
    grads: list[Tensor],
    means: list[Tensor],
    squares: list[Tensor],
    _: list[Tensor],
    counts: list[Tensor],
    *,
    lr: float,
    beta1: float,
    beta2: float,
    eps: float,
    found_inf: Tensor | None,
    **__: object,
) -> None:
    """What the kernel does, for a torch that has it no more."""
    for param, grad, mean, square, count in zip(params, grads, means, squares, counts, strict=True):
        new_mean = beta1 * mean + (1 - beta1) * grad
        new_square = beta2 * square + (1 - beta2) * grad * grad
        deviation = (new_square / (1 - beta2 ** count.double())).sqrt() + eps
        new_param = param - lr * new_mean / (1 - beta1 ** count.double()) / deviation
        for place, value in ((mean, new_mean), (square, new_square), (param, new_param)):
            place.copy_(value if found_inf is None else torch.where(found_inf > 0, place, value))
