"""Adam over named tensors that may carry a leading axis of members, with clipping a member and a state to save."""

import math

import torch
from torch import Tensor

from bayescg.inference.functional import Params

__all__ = ["Adam", "learning_rate"]


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


class Adam:
    """Adam whose state is a plain dictionary of tensors.

    Parameters
    ----------
    params : dict of str to Tensor
        Updated in place by `step`.
    members : bool
        Whether the leading axis counts members; gradients are then clipped for each member by itself.
    clip : float
        Largest norm of a member's gradient.
    """

    def __init__(self, params: Params, members: bool, clip: float):
        self.members, self.clip = members, clip
        leaves = [torch.nn.Parameter(v) for v in params.values()]
        # Parameter shares storage with the tensor it wraps, so an optimiser step is seen in `params`
        self.leaves = dict(zip(params, leaves, strict=True))
        self.inner = torch.optim.Adam(leaves, lr=0.0, fused=True)

    def step(self, grads: Params, rate: float) -> None:
        """One update with the given gradients."""
        factor = (self.clip / self.norm(grads).clamp_min(1e-30)).clamp_max(1.0)
        for name, leaf in self.leaves.items():
            g = grads[name]
            leaf.grad = g * (factor.view(-1, *[1] * (g.dim() - 1)) if self.members else factor[0])
        for group in self.inner.param_groups:
            group["lr"] = rate
        self.inner.step()

    def norm(self, grads: Params) -> Tensor:
        """Norm of each member's gradient, ``(members,)`` or ``(1,)``."""
        rows = [g.flatten(1) if self.members else g.reshape(1, -1) for g in grads.values()]
        return torch.stack([r.square().sum(1) for r in rows]).sum(0).sqrt()

    def state(self) -> Params:
        """Moments and step counts by name."""
        return {
            f"{key}/{name}": value
            for name, leaf in self.leaves.items()
            for key, value in self.inner.state[leaf].items()
            if isinstance(value, Tensor)
        }

    def load(self, state: Params) -> None:
        """Take back what `state` returned."""
        for name, leaf in self.leaves.items():
            found = {k.split("/", 1)[0]: v for k, v in state.items() if k.split("/", 1)[1] == name}
            self.inner.state[leaf] = {
                k: v.clone().to(leaf.device) if k != "step" else v.clone() for k, v in found.items()
            }
