"""One trajectory in one process: ``python -m bayescg.sampling.molecular.worker``, started by `molecular_dynamics`.

The job is JSON on standard input; every line of standard output is a JSON report. Only OpenMM, NumPy and
mdtraj's writer are imported: not PyTorch, and not the script of whoever started it.
"""

import json
import os
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

from bayescg.stopping import end_with

__all__ = ["main"]

_REPORT_EVERY = 0.25  # seconds


def main() -> None:
    """Run the job on standard input; exit status 0 also after a reported error."""
    parent = os.getppid()
    job = json.load(sys.stdin)
    end_with(parent, lambda: _give_up(job))
    try:
        _simulate(job)
    except BrokenPipeError:  # whoever started this process is gone
        pass
    finally:
        _partial(job).unlink(missing_ok=True)


def _give_up(job: dict[str, Any]) -> None:
    """Leave nothing half written."""
    _partial(job).unlink(missing_ok=True)
    os._exit(1)


def _simulate(job: dict[str, Any]) -> None:
    import openmm

    deadline = time.monotonic() + (job["seconds"] or float("inf"))
    platform = openmm.Platform.getPlatformByName(job["platform"])
    properties = {key: value for key, value in job["properties"].items() if key in platform.getPropertyNames()}
    integrator = openmm.LangevinMiddleIntegrator(job["temperature"], job["friction"], job["dt"])
    integrator.setRandomNumberSeed(job["seed"])
    system = openmm.XmlSerializer.deserialize(job["system"])
    context = openmm.Context(system, integrator, platform, properties)
    phase = "equilibration"
    try:
        context.setPositions(job["positions"])
        openmm.LocalEnergyMinimizer.minimize(context, 10, 500)
        context.setVelocitiesToTemperature(job["temperature"], job["seed"])
        for _ in range(job["equilibration"] // job["every"]):
            integrator.step(job["every"])
            _frame(context)
        integrator.step(job["equilibration"] % job["every"])
        context.setTime(0.0)
        context.setStepCount(0)
        phase = "production"
        _write(job, context, integrator, deadline)
    except (openmm.OpenMMException, FloatingPointError) as error:
        report(error=str(error), kind="simulation", phase=phase, step=context.getStepCount())
    except OSError as error:
        if isinstance(error, BrokenPipeError):
            raise
        report(error=f"{error.strerror or error}", kind="output", step=context.getStepCount())


def _write(job: dict[str, Any], context: Any, integrator: Any, deadline: float) -> None:
    from mdtraj.formats import XTCTrajectoryFile

    partial, frames = _partial(job), 0
    periodic = context.getSystem().usesPeriodicBoundaryConditions()
    with XTCTrajectoryFile(str(partial), "w") as stream:
        while frames < job["frames"] and (frames == 0 or time.monotonic() < deadline):
            xyz, box, until = [], [], time.monotonic() + _REPORT_EVERY
            while frames + len(xyz) < job["frames"] and time.monotonic() < until:
                integrator.step(job["every"])
                x, vectors = _frame(context)
                xyz.append(x if periodic else x - x.mean(0))
                box.append(vectors)
            steps = (frames + 1 + np.arange(len(xyz))) * job["every"]
            try:
                stream.write(
                    np.array(xyz, np.float32),
                    (steps * job["dt"]).astype(np.float32),
                    (steps % 2**31).astype(np.int32),
                    np.array(box, np.float32) if periodic else None,
                )
            except RuntimeError as error:  # how mdtraj reports that the file system refused
                raise OSError(f"{error}; the disk may be full") from error
            frames += len(xyz)
            report(step=int(steps[-1]))
    with XTCTrajectoryFile(str(partial)) as stream:  # what a full disk swallowed shows here at the latest
        written = len(stream)
    if written != frames:
        raise OSError(f"only {written} of {frames} frames reached the disk; it may be full")
    partial.replace(job["out"])
    report(done=frames)


def _frame(context: Any) -> tuple[np.ndarray, np.ndarray]:
    from openmm.unit import md_unit_system

    state = context.getState(positions=True)
    x = np.asarray(state.getPositions(asNumpy=True).value_in_unit_system(md_unit_system))
    if not np.isfinite(x).all():
        atom = int(np.flatnonzero(~np.isfinite(x).all(1))[0])
        raise FloatingPointError(f"the position of atom {atom} is not finite")
    return x, np.asarray(state.getPeriodicBoxVectors(asNumpy=True).value_in_unit_system(md_unit_system))


def _partial(job: dict[str, Any]) -> Path:
    out = Path(job["out"])  # the process in the name: one that goes on in this one's place has a file of its own
    return out.with_name(f".{out.stem}.{os.getpid()}.partial{out.suffix}")


def report(**fields: Any) -> None:
    """Print one line of JSON for the parent process."""
    print(json.dumps(fields), flush=True)


if __name__ == "__main__":
    main()
