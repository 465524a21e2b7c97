"""What guards a fit: signals that ask it to stop, and the diagnosis of a loss that is not finite."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

import torch
from torch import Tensor

from bayescg.errors import FitError
from bayescg.inference.objectives import Program
from bayescg.modelling.batch import Batch
from bayescg.modelling.traces import is_local, run_pair
from bayescg.recording.functional import Params, call_with

__all__ = ["StopFlag", "not_finite", "stop_requested"]


class StopFlag:
    """Name of the signal that asked for a stop, or the empty string."""

    signal = ""


@contextmanager
def stop_requested() -> Iterator[StopFlag]:
    """Inside, SIGINT and SIGTERM set a flag instead of ending the process; a second one acts as usual."""
    flag = StopFlag()
    if threading.current_thread() is not threading.main_thread():
        yield flag
        return
    previous = {s: signal.getsignal(s) for s in (signal.SIGINT, signal.SIGTERM)}

    def handle(number: int, _: FrameType | None) -> None:
        flag.signal = signal.Signals(number).name
        signal.signal(number, previous[signal.Signals(number)])

    for s in previous:
        signal.signal(s, handle)
    try:
        yield flag
    finally:
        for s, handler in previous.items():
            signal.signal(s, handler)


def not_finite(
    program: Program,
    params: Params,
    fixed: Params,
    batch: dict[str, Tensor],
    index: Tensor,
    step: int,
    members: bool,
    directory: Path | None,
) -> FitError:
    """Replay a step plainly and say which site and frames are not finite; of `params`, each member has its own."""
    culprit = "its gradient (every site is finite)"
    count = len(next(iter(params.values()))) if members else 1
    for member in range(count):
        one = {**fixed, **{k: v[member] if members else v for k, v in params.items()}}
        tensors = {k: v[member] if members and k == "weight" else v for k, v in batch.items()}
        found = call_with(program, one, _first_bad_site, Batch(**tensors, total=len(index)))
        if found is not None:
            site, rows = found
            frames = [int(index[r]) for r in rows if r < len(index)]
            culprit = f"site {site!r}" + (f", training frames {frames}" if frames else "")
            culprit += f" (refit {member})" if members and member else ""
            break
    kept = f" The last good state is in {directory}." if directory else ""
    return FitError(
        f"the loss is not finite at step {step}: {culprit}.{kept} Look at these frames; a smaller "
        "learning_rate or clip helps when they are sound."
    )


def _first_bad_site(program: Program, batch: Batch) -> tuple[str, list[int]] | None:
    with torch.no_grad():
        proposed, found, *traces = run_pair(program.inner.model, program.guide, batch)
        for trace in traces:
            trace.compute_log_prob()
    for name, site in (*proposed.items(), *found.items()):
        for value in (site["log_prob"], site["value"]):
            if torch.is_tensor(value) and not torch.isfinite(value).all():
                rows = torch.nonzero(~torch.isfinite(value))[:, 0] if value.dim() and is_local(site) else []
                return name, sorted({int(r) for r in rows})[:5]
    return None
