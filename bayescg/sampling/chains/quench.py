"""Basin labels: the region that a configuration slides into, downhill."""

import time
import warnings
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from bayescg.arguments import check_counts
from bayescg.data import Frames
from bayescg.errors import SimulationError
from bayescg.progress import Bar
from bayescg.recording.stepping import TensorStep, prepare
from bayescg.sampling.chains.loop import Settings, begin
from bayescg.sampling.chains.regions import Region, Regions
from bayescg.sampling.sampled_frames import to_frames
from bayescg.stopping import stoppable
from bayescg.systems.core import System, check_single

__all__ = ["quench"]

_FLAT = 1e-9
"""A configuration is at rest where its next step would gain less than so much of kT."""

_CALLS = 1000  # of one width of the batch, about: they are recorded, and compiled only where that is asked for
_FEWEST = 256  # narrower ones cost no less
_LOOK = 20  # steps between looks at where configurations are


def quench(
    system: System,
    configurations: Any,
    regions: Mapping[str, Region],
    *,
    steps: int = 20_000,
    compile: str = "auto",
    device: str = "auto",
    progress: bool | None = None,
) -> Frames:
    r"""Label configurations by the region that steepest descent takes them to.

    A basin label says on which side of a ridge of the energy a configuration lies. It is no committor: of that the
    label knows neither how likely the other side is, nor what friction, entropy and temperature do to the way there. A
    CV learned from such labels alone may be a bad one to bias along; learn from `commitment` where shots can be paid.

    Parameters
    ----------
    system : System
    configurations : array or openmm.unit.Quantity, shape (n, atoms, 3) in nm or (n, dim), or Frames
    regions : mapping of str to callable
        Around minima of the energy, as for `commitment`; labels count them from 0.
    steps : int, default 20 000
        Most steps, of a length of its own for each configuration: a step is taken where it gains half of what the force
        promises, so that none overshoots the bottom of a valley.
    compile : {"auto", "inductor", "trace", "off"}
    device : {"auto", "cpu", "cuda"}
    progress : bool, optional
        Show a bar; None: in a terminal.

    Returns
    -------
    Frames
        The configurations, as independent ones, with `labels` (n,), -1 for those that came to rest in no region, and
        their energies before the descent. ``provenance`` names the regions and what the labels are.

    Raises
    ------
    ConfigError
        A number is out of range, the configurations do not fit the system, or regions overlap.
    SimulationError
        A region was reached by no configuration.
    UnitError, DeviceError, Interrupted
        As `langevin`.

    Warns
    -----
    UserWarning
        Some were still going down after the last step.

    Examples
    --------
    >>> import bayescg as bcg
    >>> sides = {"A": lambda x: x[:, 0] < -0.9, "B": lambda x: x[:, 0] > 0.9}
    >>> quench(bcg.systems.QuarticDoubleWell(), [[-0.3], [0.1], [1.4]], sides).labels
    array([0, 1, 1])
    """
    began = time.perf_counter()
    check_counts(steps=(steps, 1))
    settings = Settings(steps, None, 1, 0, True, False, compile, device, 0, None, True, progress)
    check_single(system, "quench")
    start = begin(system, configurations, settings)
    places = Regions(system, regions)
    x = start.x.double()  # gains far below kT count, beside energies that may be thousands of it
    step, labels = _downhill(system), torch.full_like(x[:, 0], -1, dtype=torch.int64)
    rows, going, evaluations = torch.arange(len(x), device=x.device), 0, 0
    advice = "Nothing was saved; run it again, with fewer configurations"
    with torch.no_grad(), stoppable(lambda: advice), Bar("quench", steps, 0, progress) as bar:
        f = system.forces(x)
        length = 0.01 * system.kT / f.square().sum(-1).clamp_min(1e-30)
        state: list[Tensor] = [x, system.energy(x), f, length]
        run = prepare(step, state, _CALLS, compile)
        for number in range(0, steps + 1, _LOOK):
            reached = places.reached(state[0]).long()
            places.check(reached, state[0])
            labels[rows] = reached
            rest = state[3] * state[2].square().sum(-1) < _FLAT * system.kT
            left = torch.nonzero((reached < 0) & ~rest).flatten()
            going = len(left)
            bar.update(number, f"{going:,} of {len(x):,} under way")
            if not going:
                break
            if going < 0.5 * len(rows) and len(rows) > _FEWEST:
                state, rows = [values[left] for values in state], rows[left]
                run = prepare(step, state, _CALLS, compile)
            for _ in range(_LOOK):
                state = list(run(*state))
            evaluations += _LOOK * len(rows)
    _tell(places.names, labels, going, steps)
    cost = {"energy_evaluations": len(x) + evaluations, "force_evaluations": len(x) + evaluations}
    cost |= {"wall_seconds": time.perf_counter() - began, "device": x.device.type}
    recorded = {
        "steps": steps, "compile": compile, "regions": places.names, "cost": cost,
        "labels": "region that steepest descent leads to",
    }  # fmt: skip
    return to_frames(
        system, start.x.cpu().numpy(), {"sampler": "quench", **recorded},
        energy=start.energy.cpu().numpy(), labels=labels.cpu().numpy(),
    )  # fmt: skip


def _downhill(system: System) -> TensorStep:
    """A step of steepest descent, taken where it gains half of what the force promises (Armijo), else half as long."""

    def step(x: Tensor, u: Tensor, f: Tensor, length: Tensor) -> tuple[Tensor, ...]:
        there = x + length[:, None] * f
        energy, forces = system.energy(there), system.forces(there)
        good = energy <= u - 0.5 * length * f.square().sum(-1)
        return (
            torch.where(good[:, None], there, x),
            torch.where(good, energy, u),
            torch.where(good[:, None], forces, f),
            length * torch.where(good, 1.2, 0.5).to(length),
        )

    return step


def _tell(names: list[str], labels: Tensor, going: int, steps: int) -> None:
    """Refuse labels in which a region is missing; warn of descents that did not end."""
    missed = [name for k, name in enumerate(names) if not bool((labels == k).any())]
    if missed:
        raise SimulationError(
            f"no configuration slid into {' or '.join(map(repr, missed))}; of {len(labels):,}, "
            f"{int((labels >= 0).sum()):,} reached other regions and {int((labels < 0).sum()):,} none: check that "
            "regions hold minima of the energy"
        )
    if going:
        warnings.warn(
            f"{going:,} of {len(labels):,} configurations were still going down after {steps:,} steps and have no "
            "label (-1): give more steps",
            stacklevel=3,
        )
