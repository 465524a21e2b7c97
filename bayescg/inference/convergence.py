"""Whether a training has converged: what its losses still did at the end, and how far from its optimum it stopped."""

from __future__ import annotations

import math
from contextlib import closing

import torch
from torch import Tensor

from bayescg.inference.job import Job
from bayescg.inference.uncertainty import Posterior
from bayescg.recording.functional import mixed_seed

__all__ = ["distance_from_optimum", "distance_warnings", "slope_warnings", "still_fell"]

_NATS, _SHARE = 2.0, 0.02
_BATCHES = 64


def slope_warnings(job: Job) -> list[str]:
    """Of a loss that still fell over the second half of the steps, by more than the frames can leave unnoticed.

    By two nats of all effective frames, that is, and by a fiftieth of what it fell in all. The held-out loss is asked
    where there is one, the training loss otherwise; while temperatures change, neither means the same throughout.
    """
    fall, whole, name = still_fell(job)
    if fall * job.total_weight < _NATS or fall < _SHARE * whole:
        return []
    return [
        f"the {name} still fell by {fall:.2g} of {whole:.2g} over the second half of the {job.step:,} steps: the "
        "training has not converged; use more steps, or a larger learning_rate"
    ]


def still_fell(job: Job) -> tuple[float, float, str]:
    """By how much a loss fell over the second half of the steps, and in all, in nats per frame; and which it is.

    Nothing, where training was stopped as it fell no more, was too short to tell, or learned from changing buffers.
    """
    key, name = ("validation", "held-out loss") if job.log and "validation" in job.log[-1] else ("loss", "loss")
    if job.schedule.buffers() or job.best.stopped or len(job.log) < 10:
        return 0.0, 0.0, name
    losses = torch.tensor([row[key] for row in job.log], dtype=torch.float64)
    lowest = losses.cummin(0).values
    return float(lowest[(len(lowest) - 1) // 2] - lowest[-1]), float(losses[0] - lowest[-1]), name


def distance_from_optimum(job: Job, posterior: Posterior) -> float | None:
    r"""How far a Laplace posterior's centre is from the optimum of the objective, in its own standard deviations.

    With g the gradient of the log posterior over all frames and S the covariance, the optimum of the quadratic that the
    approximation stands for is S g away: :math:`\sqrt{g^T S g / d}`, d being the number of directions that the frames
    inform. Products of gradients of the same batches under other random numbers leave out what these add to their
    size, and the spread over batches what the frames that were not looked at do.
    """
    if posterior.kind != "laplace" or job.data is None:
        return None
    sd, basis, shrink = (posterior.tensors[k] for k in ("sd", "basis", "shrink"))
    params = {k: (job.best.state or job.state)[k] for k in job.params}

    def step(batch: dict[str, Tensor], seed: int) -> Tensor:
        """The gradient of all frames, in standard deviations of the posterior."""
        gradient = job.gradients.run(params, job.buffers, batch, mixed_seed(job.settings["seed"], 6, seed))[0]
        whole = sd * torch.cat([gradient[f"inner.{n}"].flatten() for n in job.names]) * job.total_weight
        return (whole - (whole @ basis * shrink) @ basis.T).double()

    epoch = math.ceil(len(job.data.train) / job.data.feed.size)
    looked_at = min(epoch, _BATCHES)
    with closing(job.data.feed):
        batches = looked_at * math.ceil(4 / looked_at)
        pairs = [(step(b, 2 * k), step(b, 2 * k + 1)) for k, b in ((k, job.batch(k)) for k in range(batches))]
    first, second = (torch.stack(steps) for steps in zip(*pairs, strict=True))
    squared = float(first.mean(0) @ second.mean(0))
    if looked_at < epoch:
        scatter = float((first * second).sum(1).mean()) - squared
        squared -= scatter * (1 - looked_at / epoch) / (looked_at - 1)
    informed = float((1 - (1 - shrink) ** 2).sum())
    return math.sqrt(max(squared, 0.0) / max(informed, 1.0))


def distance_warnings(distance: float | None) -> list[str]:
    """Of a posterior that is further from the optimum than it is wide."""
    if distance is None or distance <= 1:
        return []
    return [
        f"the trained values are {distance:.1f} posterior standard deviations from the optimum of the objective: the "
        "intervals of uncertainty='laplace' lie around the wrong place; use more steps, and validation=0 where the "
        "held-out loss stopped the training early"
    ]
