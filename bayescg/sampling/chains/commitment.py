"""Shots: many short trajectories from each configuration, each until it reaches one of several regions."""

import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from bayescg.arguments import check_counts, check_positive
from bayescg.data import Frames
from bayescg.errors import ConfigError, SimulationError
from bayescg.progress import Bar
from bayescg.recording.stepping import TensorStep, prepare
from bayescg.sampling.chains.dynamics import baoab, euler_maruyama, rates_of
from bayescg.sampling.chains.fused import FusedLangevin, kernels_of
from bayescg.sampling.chains.loop import Settings, Start, begin
from bayescg.sampling.chains.regions import Region, Regions
from bayescg.sampling.sampled_frames import heated, masses, to_frames
from bayescg.stopping import stoppable
from bayescg.systems.core import System, check_single
from bayescg.units import plain

__all__ = ["commitment"]

_SETTLED = 2000
"""Steps of one batch from which on compiling them pays."""

_SHRINK = {False: 0.7, True: 0.25}
"""A batch, recorded or compiled, is cut down to the shots under way when these are fewer than so much of it."""

_FEWEST = 64
_LOOK = 1000  # steps between looks at whether all is finite


def commitment(
    system: System,
    configurations: Any,
    regions: Mapping[str, Region],
    *,
    shots: int = 20,
    heat: float = 1.0,
    dt: float,
    dynamics: str = "overdamped",
    diffusion: float | Sequence[float] | None = None,
    friction: float = 1.0,
    steps: int = 100_000,
    batch: int = 16_384,
    all_regions: bool = True,
    compile: str = "auto",
    device: str = "auto",
    seed: int = 0,
    progress: bool | None = None,
) -> Frames:
    r"""Shoot trajectories from configurations and count which region each of them reaches first.

    Of n shots from x, the number that reach B before A is binomial with n and the committor q(x): labels that say how
    far a configuration is along a reaction, and how surely. All shots run side by side, each until it is in a region;
    then another takes its place, or the batch shrinks.

    A shot that is cut short is lost, and long shots are not lost at random: cutting them biases q. On the shallow
    potential of Müller and Brown, cutting 7 % of the shots moved q by 0.05. Therefore `steps` should never be reached,
    and a warning says so where it is.

    Across barriers of tens of kT all shots but those from the very top go to the nearer region, and those from a well
    between two regions go nowhere. Hotter shots tell more of the way. Their shares are the committor of the hot
    dynamics: a good CV for windows at the system's temperature, but not the committor there.

    Parameters
    ----------
    system : System
        At `heat` times whose temperature they move.
    configurations : array or openmm.unit.Quantity, shape (n, atoms, 3) in nm or (n, dim), or Frames
        Such as those of `flattened`: the most is learned where q is neither 0 nor 1.
    regions : mapping of str to callable
        From positions (n, atoms, 3), or (n, dim), to bool (n,), as of :func:`bayescg.analysis.committor`. The order is
        that of the columns of the counts. Shots are looked at after every step, so that q is that of the dynamics from
        step to step.
    shots : int, default 20
        From each configuration.
    heat : float, default 1.0
        Times the temperature, 1 or more; that of the frames returned.
    dt : float or openmm.unit.Quantity
        Time step, as of `overdamped` or `langevin`.
    dynamics : {"overdamped", "langevin"}
        The committor of Langevin dynamics depends on the velocities, here drawn from the Maxwell-Boltzmann
        distribution; counts are those of its average over them.
    diffusion : float or sequence of float, optional
        Of overdamped dynamics; default: kT.
    friction : float or openmm.unit.Quantity, default 1.0
        Of Langevin dynamics.
    steps : int, default 100 000
        Most steps of a shot.
    batch : int, default 16 384
        Most shots that run side by side.
    all_regions : bool, default True
        Refuse counts in which a region was reached by no shot at all, which few shots of many may leave out.
    compile : {"auto", "inductor", "trace", "off"}
        How steps run; ``"auto"`` records them, and compiles them when a batch has gone on for 2000 steps.
    device : {"auto", "cpu", "cuda"}
    seed : int, default 0
        One seed gives one result on one machine.
    progress : bool, optional
        Show a bar; None: in a terminal.

    Returns
    -------
    Frames
        The configurations, as independent ones, with `commitments` (n, regions) and energies. ``provenance`` names the
        regions, and counts what it cost and the shots that stayed ``unresolved``.

    Raises
    ------
    ConfigError
        A number is out of range, the configurations do not fit the system, or regions overlap.
    SimulationError
        A region was reached by no shot, or a shot left the range of floating-point numbers.
    UnitError, DeviceError, Interrupted
        As `langevin`.

    Warns
    -----
    UserWarning
        Some shots reached no region within `steps`.

    References
    ----------
    Geissler, Dellago, Chandler, J. Phys. Chem. B 103, 3706 (1999), for committors counted from shots; Peters, Trout,
    J. Chem. Phys. 125, 054108 (2006), for their likelihood.

    Examples
    --------
    >>> import bayescg as bcg
    >>> well = bcg.systems.QuarticDoubleWell()
    >>> sides = {"A": lambda x: x[:, 0] < -1.0, "B": lambda x: x[:, 0] > 1.0}
    >>> shot = commitment(well, [[-1.2], [0.0], [1.1]], sides, shots=50, dt=0.01)
    >>> shot.commitments[[0, 2]].tolist(), int(shot.commitments[1].sum()), shot.provenance["unresolved"]
    ([[50, 0], [0, 50]], 50, 0)
    """
    began = time.perf_counter()
    dt, friction = plain(dt, "ps"), plain(friction, "1/ps")
    check_positive(dt=dt, friction=friction)
    check_counts(shots=(shots, 1), batch=(batch, 1))
    settings = Settings(steps, None, 1, 0, True, False, compile, device, seed, None, True, progress)
    check_single(system, "commitment")
    system = heated(system, heat)
    start = begin(system, configurations, settings)
    places = Regions(system, regions)
    fresh, step = _moves(system, start, dt, dynamics, friction, diffusion, compile)
    at_start = places.reached(start.x)
    places.check(at_start, start.x)
    counts = torch.zeros(len(start.x), len(places.names), dtype=torch.int64, device=start.x.device)
    counts[at_start >= 0, at_start[at_start >= 0].long()] = shots
    queue = torch.nonzero(at_start < 0).flatten().repeat(shots)
    advice = "The shots so far are lost; run it again, with fewer configurations or shots"
    with torch.no_grad(), stoppable(lambda: advice), Bar("shots", max(1, len(queue)), 0, progress) as bar:
        unresolved, cost = _shoot(places, start, fresh, step, queue, counts, steps, batch, compile, bar)
    _look(places.names, counts, shots * len(start.x), unresolved, steps, all_regions)
    recorded = {
        "seed": seed, "dt": dt, "dynamics": dynamics, "heat": heat, "shots": shots, "steps": steps, "batch": batch,
        "compile": compile, "regions": places.names, "labels": "region that each shot reached first",
        "unresolved": unresolved,
    }  # fmt: skip
    recorded |= {"friction": friction} if dynamics == "langevin" else {"diffusion": diffusion}
    cost = {"energy_evaluations": len(start.x), "force_evaluations": len(start.x) + cost}
    cost |= {"wall_seconds": time.perf_counter() - began, "device": start.x.device.type}
    return to_frames(
        system, start.x.cpu().numpy(), {"sampler": "commitment", **recorded, "cost": cost},
        energy=start.energy.cpu().numpy(), commitments=counts.cpu().numpy(),
    )  # fmt: skip


Fresh = Callable[[Tensor], list[Tensor]]


def _moves(
    system: System, start: Start, dt: float, dynamics: str, friction: float, diffusion: Any, compile: str
) -> tuple[Fresh, TensorStep | FusedLangevin]:
    """The state in which shots from the configurations of given rows begin, and a step of such states."""
    forces = system.forces(start.x)
    if dynamics == "overdamped":
        rates = rates_of(system, diffusion)
        return lambda rows: [start.x[rows], forces[rows]], euler_maruyama(system, rates.to(start.x), dt)
    if dynamics != "langevin":
        raise ConfigError(f'dynamics={dynamics!r} is not known; use "overdamped" or "langevin"')
    if diffusion is not None:
        raise ConfigError('diffusion= is that of overdamped dynamics; of dynamics="langevin" give friction=')
    mass = masses(system)
    inverse_mass, thermal = (1 / mass).to(start.x), (system.kT / mass).sqrt().to(start.x)
    step: TensorStep | FusedLangevin = baoab(system, inverse_mass, thermal, dt, friction)
    if kernels := kernels_of(system, start.x, compile):
        step = FusedLangevin(kernels, inverse_mass, thermal, dt, friction, start.generator)
    return lambda rows: [start.x[rows], thermal * _noise(start, len(rows)), forces[rows]], step


def _shoot(
    places: Regions, start: Start, fresh: Fresh, step: TensorStep | FusedLangevin, queue: Tensor, counts: Tensor,
    steps: int, batch: int, compile: str, bar: Bar,
) -> tuple[int, int]:  # fmt: skip
    """Run all shots of the queue to their ends, counting these; how many reached none, and evaluations of forces."""

    def recorded(compiled: bool) -> Callable[[list[Tensor], int], Sequence[Tensor]]:
        """From a state and the number of a step to the next state, and where that has come to."""
        calls = 20_000 if compiled else 1000
        if isinstance(step, FusedLangevin):
            look = prepare(lambda x: (places.reached(x),), state[:1], calls, compile, "a region")

            def moved(state: list[Tensor], number: int) -> Sequence[Tensor]:
                after = step(state, number)
                return *after, *look(after[0])

            return moved

        plain_step = step

        def looked(*arguments: Tensor) -> tuple[Tensor, ...]:
            after = plain_step(*arguments)
            return (*after, places.reached(after[0]))

        run = prepare(looked, [*state, _noise(start, len(owner))], calls, compile, "the energy or a region")
        return lambda state, number: run(*state, _noise(start, len(owner)))

    owner, waiting = queue[:batch], queue[batch:]
    if not len(owner):
        return 0, 0
    state, age = fresh(owner), torch.zeros_like(owner)
    compiled = compile == "inductor"
    run, settled = recorded(compiled), 0
    unresolved = evaluations = number = 0
    while True:
        *state, reached = run(state, number)
        number += 1
        evaluations += len(owner)
        age, settled = age + 1, settled + 1
        if settled % _LOOK == 0:
            _check_finite(state[0], owner)
        ended = torch.nonzero(((reached != -1) | (age >= steps)) & (owner >= 0)).flatten()
        if len(ended):
            where = reached[ended]
            places.check(where, state[0][ended])
            hit = where >= 0
            counts.index_put_((owner[ended][hit], where[hit].long()), torch.ones_like(ended[hit]), accumulate=True)
            unresolved += int((~hit).sum())
            following, waiting = waiting[: len(ended)], waiting[len(ended) :]
            owner = owner.index_fill(0, ended, -1)
            if len(following):
                again = ended[: len(following)]
                owner[again], age[again] = following, 0
                for values, begun in zip(state, fresh(following), strict=True):
                    values[again] = begun
            living = torch.nonzero(owner >= 0).flatten()
            left = len(waiting) + len(living)
            bar.update(len(queue) - left, f"{left:,} of {len(queue):,} shots under way")
            if not left:
                return unresolved, evaluations
            if len(living) < _SHRINK[compiled] * len(owner) and len(owner) > _FEWEST:
                state, owner, age = [values[living] for values in state], owner[living], age[living]
                compiled = compile == "inductor"
                run, settled = recorded(compiled), 0
        if settled == _SETTLED and compile == "auto":
            compiled = True
            run = recorded(compiled)


def _noise(start: Start, rows: int) -> Tensor:
    x = start.x
    return torch.randn((rows, x.shape[1]), generator=start.generator, dtype=x.dtype, device=x.device)


def _check_finite(x: Tensor, owner: Tensor) -> None:
    bad = owner[(owner >= 0) & ~torch.isfinite(x).all(1)]
    if len(bad):
        raise SimulationError(
            f"{len(bad)} shots, the first of them from configuration {int(bad[0])}, are no longer finite; choose a "
            "shorter dt, or configurations of lower energy"
        )


def _look(names: list[str], counts: Tensor, total: int, unresolved: int, steps: int, all_regions: bool) -> None:
    """Refuse counts in which a region is never reached; warn of shots that were cut."""
    missed = [name for name, count in zip(names, counts.sum(0), strict=True) if not count]
    if missed and all_regions:
        raise SimulationError(
            f"no shot reached {' or '.join(map(repr, missed))}; {total - unresolved:,} of {total:,} shots ended in "
            f"other regions and {unresolved:,} in none within {steps:,} steps. Check the regions, give configurations "
            "between them, or more steps"
        )
    if unresolved:
        warnings.warn(
            f"{unresolved:,} of {total:,} shots ({unresolved / total:.1%}) reached no region within {steps:,} steps "
            "and are not counted; as these are the long ones, committors are biased: give more steps",
            stacklevel=3,
        )
