"""One fit on several processes, some of which are killed or stopped.

``python processes.py OUT NAME...`` under torchrun: the fits of those names, what process 0 got written to OUT.


``python processes.py PLAN`` under torchrun: this process of a plan, a dictionary with

``count``      how many processes; with 1 nothing is distributed;
``name``       the fit, or ``names``: the fits of those names, what process 0 got written to ``found.json``;
``directory``  its run_dir;
``end``        ``[rank, moment, n, signal]``: process `rank` sends itself `signal` at the `n`-th time of ``sum`` (it is
               about to tell the others its gradient), ``step`` (the optimiser has stepped) or ``write`` (a file of a
               checkpoint is about to be written); or the kernel ends it after n ms (``time``);
``patience``   seconds to wait for an answer of another process.

``python processes.py PLANS``: forks the processes of one plan after the other, and prints the exit status and what was
raised of each process.
"""

import faulthandler
import importlib
import json
import os
import signal
import sys
import time
import traceback
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyro
import pyro.distributions as dist
import torch
from torch import nn

import bayescg as bcg
from bayescg import checkpoint
from bayescg.inference import distributed
from bayescg.inference.distributed import Processes
from bayescg.models import PredictiveCV
from bayescg.recording.optimiser import Adam

COMMON = {"learning_rate": 1e-2, "seed": 3, "compile": "off", "steps": 8, "batch_size": 17, "validation": 0.2}

FITS = {
    "none": {"uncertainty": "none"},
    "traced": {"uncertainty": "none", "compile": "trace"},
    "mean-field": {"uncertainty": "mean-field"},
    "bootstrap": {"uncertainty": "bootstrap", "members": 3, "compile": "trace"},
    "all frames": {"uncertainty": "none", "batch_size": 1000, "validation": 0.0},
    "iwae": {"uncertainty": "none", "objective": "iwae", "particles": 4},
    "traced iwae": {"uncertainty": "none", "objective": "iwae", "particles": 4, "compile": "trace"},
    "iwae mean-field": {"uncertainty": "mean-field", "objective": "iwae", "particles": 4},
    "iwae bootstrap": {"uncertainty": "bootstrap", "members": 3, "objective": "iwae", "particles": 4},
    "inductor": {"uncertainty": "mean-field", "compile": "inductor"},
    "inductor iwae bootstrap": {
        "uncertainty": "bootstrap", "members": 3, "objective": "iwae", "particles": 4, "compile": "inductor",
    },
    "auto": {"uncertainty": "none", "compile": "auto", "steps": 220},
    "single precision": {"uncertainty": "mean-field"},
    "long": {"uncertainty": "mean-field", "steps": 30, "checkpoint_every": 7, "validation": 0.0},
    "refits": {"uncertainty": "bootstrap", "members": 3, "steps": 24, "checkpoint_every": 7},
    "no frames": {"uncertainty": "mean-field", "validation": 0.0},
    "drifting": {"uncertainty": "none"},
    "counted whole": {"uncertainty": "none"},
    "pairs": {"uncertainty": "bootstrap", "members": 3},
    "two frames": {"uncertainty": "none", "batch_size": 2},
    "another seed": {"uncertainty": "none"},
    "not finite": {"uncertainty": "none"},
    "skewed": {"uncertainty": "none"},
}  # fmt: skip
"""Arguments of fits by name."""


class NoFrames(bcg.Model):
    """Makes draws of a Gaussian with a random mean close to another one."""

    needs_frames = False

    def __init__(self):
        super().__init__()
        self.shift = nn.Parameter(torch.zeros(2, dtype=torch.float64))
        self.log_width = nn.Parameter(torch.zeros(2, dtype=torch.float64))

    def model(self, batch):
        one = torch.ones(2, dtype=torch.float64)
        shift = pyro.sample("shift", dist.Normal(0 * one, 3 * one).to_event(1))
        with batch.plate("frames"):
            pyro.sample("x", dist.Normal(one + 0.1 * shift, 0.5 * one).to_event(1))

    def guide(self, batch):
        with batch.plate("frames"):
            pyro.sample("x", dist.Normal(self.shift, self.log_width.exp()).to_event(1))

    def config(self):
        return {}

    @classmethod
    def example(cls):
        return cls(), None, None


class Drifting(PredictiveCV):
    """Keeps the running mean of what it reads, which is a mean over frames; no largest value is."""

    def __init__(self, **config):
        super().__init__(**config)
        self.seen: torch.Tensor
        self.register_buffer("seen", torch.zeros(3, dtype=torch.float64))

    def summary(self, x):
        return x.mean(0)

    def guide(self, batch):
        self.seen.mul_(0.9).add_(0.1 * self.summary(batch.x))
        super().guide(batch)


class CountedWhole(Drifting):
    """Keeps the running maximum."""

    def summary(self, x):
        return x.amax(0)


class Ahead(PredictiveCV):
    """Frames from latent variables that are read from the frames a lag before."""

    needs_pairs = True

    def model(self, batch):
        super().model(replace(batch, x=batch.y))

    def setup(self, frames: Any):
        super().setup(frames.frames)


class Skewed(bcg.Model):
    """A latent variable of each frame with a skewed guide, whose draws take as many random numbers as chance has it."""

    def __init__(self, **_):
        super().__init__()
        self.log_rate = nn.Parameter(torch.zeros((), dtype=torch.float64))

    def model(self, batch: Any):
        with batch.plate("frames"):
            scale = pyro.sample("scale", dist.Gamma(2.0 + 0 * batch.x[:, 0], 2.0))
            pyro.sample("x", dist.Normal(torch.zeros_like(batch.x), scale[:, None]).to_event(1), obs=batch.x)

    def guide(self, batch: Any):
        with batch.plate("frames"):
            pyro.sample("scale", dist.Gamma(1 + batch.x[:, 0] ** 2, self.log_rate.exp()))

    def config(self):
        return {}

    @classmethod
    def example(cls):
        return cls(), None, None


def run(name: str, directory: Path | None = None, **more):
    """The fit of that name; everything about it is fixed here."""
    rng = np.random.default_rng(0)
    z = rng.normal(size=(70, 1))
    x = np.concatenate([z, np.sin(2 * z), z**2], 1) + 0.1 * rng.normal(size=(70, 3))
    x = x.astype(np.float32 if name == "single precision" else np.float64)
    frames = bcg.data.Frames.from_numpy(x, unit="reduced", temperature_kT=1.0, dt=1.0)
    settings = {**COMMON, **FITS[name], **more}
    if name == "no frames":
        return bcg.fit(NoFrames(), run_dir=directory, **settings)
    if name == "another seed":
        settings["seed"] += int(os.environ.get("RANK", "0"))
    kinds = {"drifting": Drifting, "counted whole": CountedWhole, "skewed": Skewed, "pairs": Ahead}
    model = kinds.get(name, PredictiveCV)(latent_dim=1, hidden=(4,))
    if name == "not finite":
        settings["learning_rate"] = 1e6
    data = frames.lagged(2.0) if name == "pairs" else frames
    return bcg.fit(model, data, run_dir=directory, **settings)


def outcome(name: str) -> dict:
    """What can be compared of a fit: its numbers, or what was raised."""
    try:
        fit = run(name)
    except bcg.errors.BayescgError as error:
        return {"error": f"{type(error).__name__}: {error}"}
    tensors = {**fit.weights.point, **{f"posterior/{k}": v for k, v in fit.weights.tensors.items()}}
    return {
        "tensors": {k: v.tolist() for k, v in tensors.items()},
        "log": fit.log,
        "mode": fit.diagnostics["compiled"],
        "processes": fit.cost["processes"],
    }


def write_outcomes(path: Path, names: list[str]) -> None:
    """Write what comes of the fits of those names, if this is process 0."""
    outcomes = {name: outcome(name) for name in names}
    if os.environ["RANK"] == "0":
        path.write_text(json.dumps(outcomes))


def prepare(moment: str, n: int, number: int) -> None:
    """Wrap the function whose `n`-th call is the last one."""
    if moment == "time":
        signal.setitimer(signal.ITIMER_REAL, n / 1000)  # nobody handles SIGALRM, so it ends the process
        return
    owner, attribute = {"sum": (Processes, "sum"), "step": (Adam, "step"), "write": (checkpoint, "write_file")}[moment]
    plain, left = getattr(owner, attribute), [n]

    def last(*args, **kwargs):
        left[0] -= 1
        if left[0]:
            return plain(*args, **kwargs)
        result = plain(*args, **kwargs) if moment == "step" else None
        os.kill(os.getpid(), number)  # a stop by SIGTERM lets it go on
        return result if moment == "step" else plain(*args, **kwargs)

    setattr(owner, attribute, last)


def process(rank: int, plan: dict, report: Path) -> None:
    """One process of a plan."""
    faulthandler.dump_traceback_later(300, exit=True)  # nothing that hangs outlives the tests
    if "patience" in plan:
        distributed._TIMEOUT = plan["patience"]
    if plan.get("end", [None])[0] == rank:
        prepare(*plan["end"][1:])
    if "names" in plan:
        write_outcomes(Path(plan["directory"]) / "found.json", plan["names"])
        return
    try:
        run(plan["name"], Path(plan["directory"]))
    except bcg.errors.BayescgError as error:
        report.write_text(f"{type(error).__name__}: {error}")
        raise


def carry_out(plan: dict) -> list[list]:
    """Fork the processes of a plan: exit status and what was raised of each."""
    # as torchrun does: a store in this process, whose port is not looked for first and bound later
    store = torch.distributed.TCPStore(  # pyright: ignore[reportPrivateImportUsage]
        "127.0.0.1", 0, is_master=True, wait_for_workers=False
    )
    where = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": store.port, "WORLD_SIZE": plan["count"]}
    where |= {"TORCHELASTIC_USE_AGENT_STORE": True}
    children = {}
    directory = Path(plan["directory"])
    directory.mkdir(exist_ok=True)
    for rank in range(plan["count"]):
        report = directory / f"raised-{rank}"
        report.unlink(missing_ok=True)
        child = os.fork()
        if child == 0:
            code = 1
            try:
                os.environ |= {k: str(v) for k, v in {**where, "RANK": rank, "LOCAL_RANK": rank}.items()}
                process(rank, plan, report)
                code = 0
            except BaseException:
                traceback.print_exc()
            finally:
                os._exit(code)
        children[child] = rank
    ends, stopped = {}, []
    while len(ends) < len(children):
        if len(ends) + len(stopped) == len(children):
            for child in stopped:
                os.kill(child, signal.SIGKILL)
        child, status = os.waitpid(-1, os.WUNTRACED)
        if os.WIFSTOPPED(status):
            stopped.append(child)
            continue
        report = directory / f"raised-{children[child]}"
        ends[children[child]] = [os.waitstatus_to_exitcode(status), report.read_text() if report.exists() else ""]
    return [ends[rank] for rank in sorted(ends)]


def main() -> None:
    torch.set_num_threads(1)
    if "RANK" in os.environ and len(sys.argv) == 2:
        plan, rank = json.loads(sys.argv[1]), int(os.environ["RANK"])
        process(rank, plan, Path(plan["directory"]) / f"raised-{rank}")
        return
    if "RANK" in os.environ:
        write_outcomes(Path(sys.argv[1]), sys.argv[2:])
        return
    if torch.version.cuda is None:  # else nothing of a process that has taken gradients can take any after a fork
        run("traced")  # imports what is imported late, once
        run("refits", steps=1)
        assert "lightning_fabric" not in sys.modules, "a fit in one process needs no Fabric"
    importlib.import_module("lightning_fabric.strategies.ddp")  # once, before the forks
    results = []
    for plan in json.loads(sys.argv[1]):
        began = time.perf_counter()
        results.append(carry_out(plan))
        print(f"{plan} {time.perf_counter() - began:.1f} s", file=sys.stderr)
    print(json.dumps(results))


if __name__ == "__main__":
    main()
