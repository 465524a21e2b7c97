"""Fits that are killed: run as a script, it forks processes that fit and die by SIGKILL at given moments.

``python killed.py CHAINS``: a chain is ``[scenario, run_dir, plans]``, one process after the other that goes on from
the same run directory. A plan is ``[moment, count]``: die at the `count`-th time of

``half-written``    a file of the checkpoint is cut in half before it is synchronised;
``before-rename``   a file is written but not yet in place;
``after-rename``    a file has just been put in place: of the two files of a checkpoint, one is;
``before-delete``   an old checkpoint is about to go;
``after-delete``    one of its two files is gone;
``after-step``      the optimiser has stepped;
``at-time``         the kernel ends the process after `count` ms of its own CPU time, wherever it is;
``told-to-stop``    another process sends SIGTERM once there is a checkpoint of step `count`: it exits with 3, and its
                    message is the file ``said`` of the run directory.
"""

import importlib
import json
import os
import signal
import sys
import time
from pathlib import Path

import numpy as np

SCENARIOS = {
    "all frames": {"uncertainty": "none", "validation": 0.0, "steps": 30, "checkpoint_every": 3},
    "minibatches": {"uncertainty": "none", "validation": 0.2, "batch_size": 16, "steps": 30, "checkpoint_every": 3},
    "bootstrap": {
        "uncertainty": "bootstrap", "members": 4, "validation": 0.2, "batch_size": 16, "steps": 30,
        "checkpoint_every": 3,
    },
    "ensemble": {"uncertainty": "ensemble", "members": 3, "validation": 0.0, "steps": 30, "checkpoint_every": 5},
    "mean-field": {
        "uncertainty": "mean-field", "validation": 0.2, "batch_size": 16, "steps": 30, "checkpoint_every": 4,
    },
    "traced": {
        "uncertainty": "bootstrap", "members": 4, "validation": 0.2, "batch_size": 16, "steps": 120,
        "checkpoint_every": 7, "compile": "trace",
    },
    "long": {"uncertainty": "none", "validation": 0.2, "batch_size": 16, "steps": 240, "checkpoint_every": 20},
    "long bootstrap": {
        "uncertainty": "bootstrap", "members": 4, "validation": 0.2, "batch_size": 16, "steps": 200,
        "checkpoint_every": 20,
    },
}  # fmt: skip


def run(scenario: str, directory: Path | None, **more):
    """The scenario's fit; everything about it is fixed here."""
    import bayescg as bcg
    from bayescg.models import PredictiveCV

    rng = np.random.default_rng(0)
    z = rng.normal(size=(70, 1))
    x = np.concatenate([z, np.sin(2 * z), z**2], 1) + 0.1 * rng.normal(size=(70, 3))
    frames = bcg.data.Frames.from_numpy(x.astype(np.float32), unit="reduced", temperature_kT=1.0, dt=1.0)
    settings = {"learning_rate": 1e-2, "seed": 3, "compile": "off", **SCENARIOS[scenario], **more}
    return bcg.fit(PredictiveCV(latent_dim=1, hidden=(4,)), frames, run_dir=directory, **settings)


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def prepare(moment: str, count: int) -> None:
    """Wrap the function whose `count`-th call is the last one."""
    left = [count]
    fsync, replace, unlink = os.fsync, Path.replace, Path.unlink

    def due() -> bool:
        left[0] -= 1
        return left[0] == 0

    def cut(descriptor):
        if due():
            os.ftruncate(descriptor, os.fstat(descriptor).st_size // 2)
            die()
        fsync(descriptor)

    def around(function, before: bool):
        def call(*args, **kwargs):
            last = due()
            if last and before:
                die()
            result = function(*args, **kwargs)
            if last:
                die()
            return result

        return call

    if moment == "at-time":
        signal.setitimer(signal.ITIMER_PROF, count / 1000)  # nobody handles SIGPROF, so it ends the process
    elif moment == "half-written":
        os.fsync = cut
    elif moment.endswith("rename"):
        Path.replace = around(replace, moment.startswith("before"))
    elif moment.endswith("delete"):
        Path.unlink = around(unlink, moment.startswith("before"))
    elif moment == "after-step":
        from bayescg.recording.optimiser import Adam

        Adam.step = around(Adam.step, False)


def chain(scenario: str, directory: Path, plans: list[list]) -> list[list]:
    """Moment, exit status and last step of each process of a chain."""
    from bayescg.errors import Interrupted

    ends = []
    for moment, count in plans:
        child = os.fork()
        if child == 0:
            prepare(moment, count)
            try:
                run(scenario, directory)
            except Interrupted as error:
                (directory / "said").write_text(str(error))
                os._exit(3)
            finally:
                os._exit(0)
        if moment == "told-to-stop":
            deadline = time.monotonic() + 60
            while not any(int(p.stem.split("-")[1]) >= count for p in (directory / "checkpoint").glob("*.json")):
                assert time.monotonic() < deadline, "no checkpoint within a minute"
                time.sleep(0.01)
            os.kill(child, signal.SIGTERM)
        _, status = os.waitpid(child, 0)
        steps = [json.loads(p.read_text())["meta"]["step"] for p in (directory / "checkpoint").glob("*.json")]
        ends.append([moment, os.waitstatus_to_exitcode(status), max(steps, default=0)])
    return ends


def main() -> int:
    for module in ("torch", "bayescg.inference", "bayescg.models", "bayescg.data"):
        importlib.import_module(module)  # once, before the forks
    import torch

    torch.set_num_threads(1)
    run("bootstrap", None, steps=1)  # imports what is imported late, so that the forks do not
    print(json.dumps([chain(name, Path(directory), plans) for name, directory, plans in json.loads(sys.argv[1])]))
    return 0


if __name__ == "__main__":
    sys.exit(main())
