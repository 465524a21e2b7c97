"""Umbrella sampling along a CV with exchange of neighbouring windows, all windows in one batch."""

import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from bayescg.arguments import check_counts, check_positive
from bayescg.data import Bias, Frames, apart, evenly, overlap, round_trips
from bayescg.data.rungs import LITTLE_OVERLAP
from bayescg.errors import ConfigError, DataError, SimulationError
from bayescg.sampling.biased.cv_gradient import CV, cv_of_coordinates, with_gradient
from bayescg.sampling.biased.replicas import Replicas
from bayescg.sampling.biased.umbrella_windows import Ladder, ladder_along
from bayescg.sampling.chains.loop import Run, Settings, as_positions, begin, run_kernel
from bayescg.sampling.sampled_frames import masses, to_frames
from bayescg.systems.core import System, check_single
from bayescg.units import plain

__all__ = ["umbrella"]

_FRICTION = 5.0  # 1/ps, of molecules: torsions, the CVs of most, forget their velocity in some 0.1 ps
_WIDER = 0.04  # of the variance in a window; free energies sum up what windows have in common
_DRAGGED = 3.0  # widths of a window from which on a start is dragged into it, by more than 4 kT


def umbrella(
    system: System,
    cv: Any,
    steps: int,
    *,
    dt: float,
    starts: Any,
    windows: int = 20,
    walkers: int = 16,
    friction: float | None = None,
    exchange_every: int | None = 10,
    component: int = 0,
    centres: Sequence[float] | None = None,
    stiffness: float | Sequence[float] | None = None,
    stride: int = 50,
    equilibration: int | None = None,
    energy: bool = False,
    compile: str = "auto",
    device: str = "auto",
    seed: int = 0,
    run_dir: str | Path | None = None,
    resume: bool = True,
    progress: bool | None = None,
) -> Frames:
    r"""Umbrella sampling along a CV with exchange of neighbouring windows: Boltzmann-weighted frames across barriers.

    A column is a ladder of windows, in each a replica under the bias :math:`b_k = \kappa_k (s - c_k)^2 / 2` (in kT).
    All replicas of all columns move in one batch, by dynamics whose forces hold the bias. Every `exchange_every` steps
    neighbours in a column exchange their windows with probability
    :math:`\min(1, e^{b_k(s_i) + b_l(s_j) - b_l(s_i) - b_k(s_j)})`, even and odd pairs in turn, so that replicas walk
    along the whole CV, and what the CV does not say of a configuration relaxes where it is free to. Without exchange,
    windows keep what they began with, and no error bar shows it: :func:`bayescg.analysis.mixing` does.

    Parameters
    ----------
    system : System
    cv : Fit or callable
        Of a fit, its CV number `component`, by the trained parameters; or a differentiable torch function of positions,
        ``(n, atoms, 3)`` in nm or ``(n, dim)``, to (n,).
    steps : int
        Steps of every replica after equilibration.
    dt : float or openmm.unit.Quantity
        Time step.
    starts : Frames, array or openmm.unit.Quantity, shape (n, atoms, 3) or (n, dim)
        Configurations from all along the CV, as `flattened` makes them: each window begins with those nearest to it,
        one for each column. A float64 array makes the whole run double precision.
    windows : int, default 20
        Rungs of a ladder, where `centres` do not say.
    walkers : int, default 16
        Columns: ladders that are independent of each other, of which error bars are made.
    friction : float or openmm.unit.Quantity, optional
        Collision rate of Langevin dynamics (BAOAB). Default: 5/ps for molecules; reduced units move overdamped, with
        diffusion kT, by steps of Euler and Maruyama.
    exchange_every : int, default 10
        Steps between exchanges, which cost little; None: there are none.
    component : int, default 0
        Which CV of a fit.
    centres : sequence of float, optional
        Where the windows are. Default: equally spaced; where `starts` are shots at two regions (`commitment`), from the
        middle of one basin to that of the other, beyond which there is nothing to bias: medians of those starts that
        all ended in one region, of the fifth of lowest energy; else between the 1 % and the 99 % quantile of the CV
        over `starts`.
    stiffness : float or sequence of float, optional
        :math:`\kappa_k` in kT per square of the CV. Default: the inverse square of the spacing, with which about half
        of the exchanges are accepted where the free energy bends less than the bias.
    stride : int, default 50
        Steps from one frame that is kept to the next.
    equilibration : int, optional
        Steps before the first of `steps`, of which no frame is kept. Default: a fifth of `steps`.
    energy : bool
        Whether to keep potential energies, without the bias, with each frame.
    compile : {"auto", "inductor", "trace", "off"}
        As for `langevin`, but ``"auto"`` compiles from 6000 steps on: the gradient of a CV is many small operations.
    device, seed, run_dir, resume, progress
        As for `langevin`.

    Returns
    -------
    Frames
        Of all windows, with weights (MBAR) that make them one sample of the Boltzmann distribution. ``trajectory`` is
        the column; in it come all replicas at one time, then all at the next. ``bias`` says in which window each frame
        was simulated, its bias in all of them, and which replica it is. ``provenance``: ``centres``, ``stiffness``,
        ``acceptance`` of the exchanges of each pair of neighbours, and cost. :meth:`Frames.segments
        <bayescg.data.Frames.segments>` makes trajectories of them, for dynamics along the CV.

    Raises
    ------
    ConfigError
        A number is out of range; the CV is not finite, or constant over the starts or around those of a window; or all
        starts lie outside every window.
    SimulationError
        Every column left the range of floating-point numbers: the time step is too long.
    CheckpointError
        `run_dir` holds another run, with other windows, say.
    UnitError, OutputError, Interrupted
        As `langevin`.

    Warns
    -----
    UserWarning
        A window has no start nearby, or is too stiff for the time step; a column left the range of floating-point
        numbers (its frames from then on are left out); or two neighbouring windows hardly overlap.

    Notes
    -----
    Configurations are exchanged at one temperature, so that velocities stay. The weights undo the bias exactly,
    whatever the CV; how good the CV is decides how fast windows mix.

    References
    ----------
    Torrie, Valleau, J. Comput. Phys. 23, 187 (1977); Sugita, Kitao, Okamoto, J. Chem. Phys. 113, 6042 (2000), for the
    exchange of windows; Shirts, Chodera, J. Chem. Phys. 129, 124105 (2008), for the weights.

    Examples
    --------
    >>> import bayescg as bcg
    >>> well = bcg.systems.DoubleWell()
    >>> starts = np.stack([np.linspace(-3.0, 3.0, 100), np.zeros(100)], 1)
    >>> frames = umbrella(well, lambda x: x[:, 0], 500, dt=0.01, starts=starts, windows=16, walkers=4)
    >>> frames, frames.bias.windows, min(frames.provenance["acceptance"]) > 0.2
    (Frames(640 x 2, reduced, 4 trajectories, no time axis), 16, True)
    """
    dt, friction = plain(dt, "ps"), plain(friction, "1/ps")
    check_single(system, "umbrella sampling")
    check_positive(dt=dt)
    if friction is None and system.temperature is not None:
        friction = _FRICTION
    if friction is not None:
        check_positive(friction=friction)
    check_counts(
        windows=(windows, 2), walkers=(walkers, 1), steps=(steps, 1),
        exchange_every=(1 if exchange_every is None else exchange_every, 1),
    )  # fmt: skip
    equilibration = steps // 5 if equilibration is None else equilibration
    settings = Settings(
        steps, None, stride, equilibration, energy, False, compile, device, seed, run_dir, resume, progress
    )
    value = cv_of_coordinates(cv, system, component)
    starts = starts[evenly(starts)] if isinstance(starts, Frames) else starts
    x = as_positions(system, starts, None)
    x = x[evenly(x)]
    s = _values(value, x)
    ladder = ladder_along(
        s, windows, centres, stiffness, *(getattr(starts, name, None) for name in ("commitments", "energy"))
    )
    rows = ladder.nearest(s, walkers)
    far = _far(ladder, s[rows[0]])
    if rough := _rough(value, x[rows.ravel()], ladder, system, dt, friction):
        warnings.warn(rough, stacklevel=2)
    kernel = Replicas(
        system, begin(system, x[rows.ravel()], settings), value, ladder, dt, friction, exchange_every, settings
    )
    if far:
        warnings.warn(
            f"umbrella: no start is near {len(far)} of {len(ladder)} windows, which drag one to themselves: "
            f"{', '.join(far)}; give starts from all along the CV (bcg.sampling.flattened makes some), for what is "
            "dragged brings its own side along",
            stacklevel=2,
        )
    special = {
        "dt": dt, "friction": friction, "exchange_every": exchange_every, "windows": len(ladder), "walkers": walkers,
        "centres": ladder.centres.tolist(), "stiffness": ladder.stiffness.tolist(),
    }  # fmt: skip
    run = run_kernel("umbrella", kernel, settings, special)
    if kernel.stopped():
        warnings.warn(
            f"umbrella: {kernel.stopped()}; their frames from then on are left out. Choose a shorter dt than {dt:g}, "
            "or starts of lower energy",
            stacklevel=2,
        )
    frames = _frames(kernel, run, settings)
    assert frames.bias is not None
    assert frames.weights is not None
    thin = np.diagonal(overlap(frames.bias, frames.weights), 1)
    if (thin < LITTLE_OVERLAP).any():
        pairs = ", ".join(f"{k} and {k + 1} ({thin[k]:.2g})" for k in np.flatnonzero(thin < LITTLE_OVERLAP))
        warnings.warn(
            f"umbrella: windows {pairs} hardly overlap, so that free energies across them are rough: put windows "
            "closer together there (centres=), or make them softer (stiffness=)",
            stacklevel=2,
        )
    return frames


def _frames(kernel: Replicas, run: Run, settings: Settings) -> Frames:
    """Frames of all columns while they were finite, with the weights that undo their bias."""
    columns, ladder, trajectory, provenance = run.columns, kernel.ladder, run.trajectory, run.provenance
    number = settings.steps // settings.stride
    whole = kernel.frames_before(settings.equilibration, settings.stride, number)
    replica = np.arange(kernel.count * len(ladder), dtype=np.int32).reshape(kernel.count, 1, -1)
    replica = np.broadcast_to(replica, (kernel.count, number, len(ladder))).ravel()
    if (whole < number).any():
        good = (np.arange(number) < whole[:, None]).repeat(len(ladder), 1).ravel()
        columns = {name: column[good] for name, column in columns.items()}
        trajectory, replica = trajectory[good], replica[good]
    energies, born = ladder.energies(columns["cv"]), np.tile(np.arange(len(ladder)), kernel.count)
    bias = Bias(columns["window"], energies, replica, born)
    provenance["round_trips"] = round_trips(bias.window, bias.replica, len(ladder))
    rest = {"trajectory": trajectory, "energy": columns.get("energy"), "bias": bias, "ordered": True}
    try:
        return to_frames(kernel.system, columns["positions"], provenance, **rest)
    except DataError as error:
        pairs = " or ".join(f"{k} and {k + 1}" for k in apart(bias))
        raise SimulationError(
            f"umbrella: nothing connects windows {pairs}: put windows closer together there (centres=), or make them "
            "softer (stiffness=), or sample longer"
            + ("" if settings.run_dir is None else f". The frames are in {settings.run_dir}")
        ) from error


def _values(value: CV, x: torch.Tensor) -> np.ndarray:
    """CV of the starts, checked."""
    with torch.no_grad():
        s = torch.cat([value(part) for part in x.split(10_000)]).double().cpu().numpy()
    if not np.isfinite(s).all():
        bad = np.flatnonzero(~np.isfinite(s))
        raise ConfigError(f"the CV is not finite at start {bad[0]} ({len(bad)} of {len(s)})")
    return s


def _rough(value: CV, x: torch.Tensor, ladder: Ladder, system: System, dt: float, friction: float | None) -> str | None:
    r"""What to say of steps that are too long for the bias, by its stiffness at the starts (walkers * windows, dim).

    A spring's variance comes out too large by :math:`1 / (1 - \kappa |\nabla s|^2 D\,dt / 2)` in steps of Euler and
    Maruyama; BAOAB's has no error, but is unstable from :math:`\omega\,dt = 2` on.
    """
    gradient = with_gradient(value)(x)[1].detach().double().cpu()
    weighed = gradient**2 if friction is None else gradient**2 / masses(system)
    each = system.kT * weighed.sum(1).reshape(-1, len(ladder)).numpy() * ladder.stiffness
    excess = 0.5 * dt * np.median(each, 0) if friction is None else dt**2 * np.median(each, 0)
    most = _WIDER if friction is None else 1.0
    worst = int(np.argmax(excess))
    if not excess[worst] > most:
        return None
    longest = dt * most / excess[worst] if friction is None else dt * (most / excess[worst]) ** 0.5
    effect = "are too long for its spring" if friction else f"make the variance {excess[worst]:.0%} too large"
    return (
        f"umbrella: {int((excess > most).sum())} windows are too stiff for steps of {dt:g}, which in window {worst} "
        f"{effect}, so that free energies are off: use dt={longest:.2g} or less, softer windows (stiffness=)"
        + (", or friction= for Langevin dynamics, whose steps have no such error" if friction is None else "")
    )


def _far(ladder: Ladder, nearest: np.ndarray) -> list[str]:
    """Windows that have no start which they need not drag."""
    far = np.flatnonzero(np.abs(nearest - ladder.centres) > _DRAGGED * ladder.widths)
    names = [f"{k} (centre {ladder.centres[k]:.3g}, nearest start {nearest[k]:.3g})" for k in far]
    if len(far) == len(ladder):
        raise ConfigError(
            f"all starts lie outside every window, by more than {_DRAGGED:g} of its widths: {', '.join(names)}; give "
            "starts along the CV, or other centres"
        )
    return names
