"""What the tests of `map` run: imported by worker processes, so nothing heavy stands at the top.

Every run notes its start and its end, with its process, in a file shared by all of them.
"""

import hashlib
import os
import signal
import time
from pathlib import Path
from typing import Any

BATCH = 16
SIZES = {"batch_size": BATCH, "validation": 0.2, "uncertainty": "none", "compile": "off", "progress": False}


def note(log: str, what: str, number: int) -> None:
    with Path(log).open("a") as stream:
        stream.write(f"{what} {number} {os.getpid()}\n")


def nap(number: int, log: str, seconds: float = 0.0, after: int | None = None) -> dict[str, Any]:
    """Take some time, or until another has ended (a minute at most)."""
    note(log, "start", number)
    end = time.monotonic() + 60.0
    while after is not None and f"end {after} " not in Path(log).read_text() and time.monotonic() < end:
        time.sleep(0.01)
    time.sleep(seconds)
    note(log, "end", number)
    return {"number": number, "threads": os.environ["OMP_NUM_THREADS"]}


def kept_nap(number: int, log: str, run_dir: Path, seconds: float = 0.0) -> dict[str, Any]:
    """The same with a directory."""
    return {**nap(number, log, seconds), "directory": run_dir.name}


def fail(number: int, log: str, flag: str) -> int:
    """Fail for odd numbers as long as a file is there."""
    note(log, "start", number)
    if number % 2 and Path(flag).exists():
        raise ValueError(f"no luck with {number}")
    return number


def die(number: int, log: str) -> int:
    """Take the worker along, for number 1."""
    note(log, "start", number)
    if number == 1:
        os.kill(os.getpid(), signal.SIGKILL)
    return number


def tensors(seed: int) -> list[Any]:
    """A result that JSON does not hold."""
    import torch

    return [torch.full((3,), float(seed)) for _ in range(50)]


def fit(
    seed: int, run_dir: Path | None, log: str, steps: int = 60, die_at: int = 0, pause: float = 0.0
) -> dict[str, Any]:
    """A small fit; the first time, it takes its process along at a training step."""
    import bayescg as bcg
    from bayescg.models import PredictiveCV
    from bayescg.recording.functional import state_of

    again = run_dir is not None and (run_dir / "began").exists()
    begun = max((int(p.stem.split("-")[1]) for p in run_dir.glob("checkpoint/*.json")), default=0) if run_dir else 0
    if run_dir is not None:
        (run_dir / "began").touch()
    note(log, "start", seed)
    trained = 0

    class Counted(PredictiveCV):
        def model(self, batch: bcg.Batch) -> None:
            nonlocal trained
            assert batch.x is not None
            if len(batch.x) == BATCH:  # held-out frames come in other numbers
                trained += 1
                time.sleep(pause)
                if trained == die_at and not again:
                    os.kill(os.getpid(), signal.SIGKILL)
            super().model(batch)

    _, frames, _ = PredictiveCV.example()
    model = Counted(latent_dim=1, hidden=(4,), dim=4)
    fitted = bcg.fit(model, frames, steps=steps, seed=seed, run_dir=run_dir, checkpoint_every=10, **SIZES)
    digest = hashlib.sha256()
    for name, value in sorted(state_of(fitted.model).items()):
        digest.update(name.encode() + value.detach().numpy().tobytes())
    digest.update(str(fitted.log).encode())
    note(log, "end", seed)
    return {"digest": digest.hexdigest(), "begun": begun, "trained": trained}


def measured(seed: int, width: float, log: str, run_dir: Path, seconds: float = 0.0) -> dict[str, Any]:
    """A number with an interval, after some time."""
    note(log, "start", seed)
    time.sleep(seconds)
    note(log, "end", seed)
    mean = width + 0.005 * ((seed * 7919) % 11 - 5)
    return {"height": {"unit": "nm", "mean": mean, "sd": 0.03, "ci90": [mean - 0.05, mean + 0.05], "truth": width}}


def interrupted(number: int, log: str, flags: str, run_dir: Path) -> dict[str, Any]:
    """The first time, a Ctrl-C comes during those whose flag is there."""
    note(log, "start", number)
    flag = Path(flags) / str(number)
    if flag.exists():
        flag.unlink()
        raise KeyboardInterrupt
    note(log, "end", number)
    return {"number": number}
