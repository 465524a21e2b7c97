"""Checkpoints of a fit under way: its state written, and taken back."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from bayescg import checkpoint
from bayescg.errors import CheckpointError
from bayescg.inference.job import Job
from bayescg.recording.functional import Params

__all__ = ["restore", "save"]


def save(job: Job, directory: Path) -> None:
    """Write the state of a fit, keeping the checkpoint before it; of several processes one does."""
    if not job.writes:
        return
    tensors = {f"params/{k}": v for k, v in job.params.items()}
    tensors |= {f"buffers/{k}": job.buffers[k] for k in job.moving}
    tensors |= {f"best/{k}": v for k, v in job.best.state.items()}
    tensors |= {f"adam/{k}": v for k, v in job.optimiser.state().items()}
    tensors |= {"best_loss": job.best.loss, "best_step": job.best.step}
    tensors |= {f"schedule/{k}": v for k, v in job.schedule.tensors().items()}
    if job.recent:
        tensors["recent"] = torch.stack(job.recent)
    meta = {
        "identity": job.identity(), "mode": job.mode, "step": job.step, "stopped": job.best.stopped,
        "seconds": job.seconds, "log": job.log,
        "schedule": job.schedule.state(),
    }  # fmt: skip
    checkpoint.write(directory, f"step-{job.step:09d}", tensors, meta, keep=2)


def restore(job: Job, saved: tuple[dict[str, Tensor], dict[str, Any]], directory: Path) -> None:
    """Go on from a checkpoint of a directory.

    Raises
    ------
    CheckpointError
        It belongs to another model, data set or setting.
    """
    tensors, meta = saved
    for key, value in job.identity().items():
        before = meta["identity"].get(key)
        if before != value:
            raise CheckpointError(
                f"the checkpoint in {directory} was written with another {key.replace('_', ' ')} "
                f"({before!r}, now {value!r}); give another run_dir, or resume=False to start anew"
            )
    if meta["mode"] != job.mode:
        warnings.warn(
            f"the fit began with compile={meta['mode']!r} and goes on with {job.mode!r}: equal only up to rounding",
            stacklevel=3,
        )

    def part(prefix: str) -> Params:
        return {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}

    for place, prefix in ((job.params, "params/"), (job.buffers, "buffers/")):
        for name, value in part(prefix).items():
            place[name].copy_(value)
    job.best.state = {k: v.to(job.device) for k, v in part("best/").items()}
    job.best.loss, job.best.step, job.best.stopped = tensors["best_loss"], tensors["best_step"], meta["stopped"]
    job.recent = list(tensors["recent"].to(job.device)) if "recent" in tensors else []
    job.log, job.seconds, job.step, job.looked = meta["log"], meta["seconds"], meta["step"], meta["step"]
    job.schedule.load(meta["schedule"], {k: v.to(job.device) for k, v in part("schedule/").items()})
    job.follow_schedule()
    job.optimiser.load(part("adam/"))
