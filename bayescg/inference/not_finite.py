"""The end of a fit whose loss is not finite, and its diagnosis."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch

from bayescg.errors import FitError
from bayescg.inference.job import Job, NotFinite
from bayescg.inference.objectives import Program
from bayescg.inference.resuming import save
from bayescg.modelling.batch import Batch
from bayescg.modelling.traces import is_local, run_pair
from bayescg.recording.functional import call_with, mixed_seed, seeded

__all__ = ["explained_when_not_finite"]


@contextmanager
def explained_when_not_finite(job: Job, directory: Path | None) -> Iterator[None]:
    """Inside, a loss that is not finite ends the fit: the state before it is saved, and the error says what was wrong.

    Raises
    ------
    FitError
    """
    try:
        yield
    except NotFinite:
        whereabouts = ""
        if directory is not None:
            save(job, directory / "checkpoint")
            whereabouts = f" The last good state is in {directory}."
        raise FitError(
            f"the loss is not finite at step {job.step}: {_culprit(job)}.{whereabouts} Look at these frames; a smaller "
            "learning_rate or clip helps when they are sound."
        ) from None


def _culprit(job: Job) -> str:
    """The first site that is not finite, and its frames, found by replaying a step plainly."""
    index = torch.arange(job.total) if job.data is None else job.data.feed.indices(job.step)
    batch, refits = job.batch(job.step), job.members is not None
    fixed = {k: v for k, v in job.buffers.items() if k not in job.moving}
    with seeded(mixed_seed(job.settings["seed"], 1, job.step), job.device):
        for member in range(job.members or 1):
            state = {**fixed, **{k: v[member] if refits else v for k, v in job.state.items()}}
            tensors = {k: v[member] if refits and k == "weight" else v for k, v in batch.items()}
            bad = call_with(job.program, state, _first_bad_site, Batch(**tensors, total=len(index)))
            if bad is not None:
                site, rows = bad
                frames = [int(index[r]) for r in rows if r < len(index)]
                where = f", training frames {frames}" if frames else ""
                return f"site {site!r}{where}" + (f" (refit {member})" if member else "")
    return "its gradient (every site is finite)"


def _first_bad_site(program: Program, batch: Batch) -> tuple[str, list[int]] | None:
    with torch.no_grad():
        guided, modelled, *traces = run_pair(program.inner.model, program.guide, batch)
        for trace in traces:
            trace.compute_log_prob()
    for name, site in (*guided.items(), *modelled.items()):
        for value in (site["log_prob"], site["value"]):
            if torch.is_tensor(value) and not torch.isfinite(value).all():
                rows = torch.nonzero(~torch.isfinite(value))[:, 0] if value.dim() and is_local(site) else []
                return name, sorted({int(r) for r in rows})[:5]
    return None
