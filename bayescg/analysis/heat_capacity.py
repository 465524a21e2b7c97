"""Heat capacities from the fluctuations of the energy."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from bayescg.analysis.block_bootstrap import weights_of
from bayescg.analysis.evaluation import evaluate
from bayescg.analysis.fit_checks import check_question
from bayescg.analysis.free_energy.sparse import FEWEST, own_draws
from bayescg.analysis.quantity import Quantity
from bayescg.analysis.resampled import average
from bayescg.errors import DataError
from bayescg.inference.reweighting import WORST_K
from bayescg.systems.core import check_system
from bayescg.units import GAS_CONSTANT

if TYPE_CHECKING:
    from bayescg.data import Frames
    from bayescg.systems import System

__all__ = ["heat_capacity"]

_UNREACHED = (
    f"the weights have a Pareto k above {WORST_K}, or fewer than {FEWEST} effective draws carry the fluctuations of "
    "the energy: draw more, or train the generator at a range that holds this temperature, temperatures="
)


def heat_capacity(frames: Frames, system: System | None = None, draws: int = 400, seed: int = 0) -> Quantity:
    r"""Configurational heat capacity :math:`(\langle U^2 \rangle - \langle U \rangle^2) / k T^2` at the frames' T.

    The momenta add k/2 for each coordinate, which no frame has to tell.

    Parameters
    ----------
    frames : Frames
        Of one temperature, whose weights are respected: of a simulation, or of
        ``bcg.analysis.reweighted(fit, temperature=...)``.
    system : System, optional
        Whose energy it is, where the frames hold none.
    draws, seed : int
        Of a bootstrap over blocks of frames.

    Returns
    -------
    Quantity
        In kJ/mol/K for molecules, in units of k for reduced ones. Without an interval where the weights of a
        generator's draws have no mean, or fewer than ten effective draws carry the fluctuations. Of a generator of one
        temperature, intervals that are left at others miss too often: at twice that where it was trained, a quarter to
        most.

    Raises
    ------
    DataError
        The frames have no energies, or no temperature, and no system is given.

    References
    ----------
    Frenkel, Smit, "Understanding Molecular Simulation" (2002), section 4.1.

    Examples
    --------
    >>> import bayescg as bcg
    >>> well = bcg.systems.Harmonic((1.0, 4.0))
    >>> c = heat_capacity(bcg.sampling.equilibrium(well, 20_000), well)
    >>> abs(c.mean - 1.0) < 4 * c.sd  # half of k for each coordinate
    True
    """
    check_question(frames, draws=(draws, 20), seed=(seed, 0))
    if system is not None:
        check_system(system)
        energy = evaluate(lambda x: system.energy(x.flatten(1)), frames)
    elif frames.energy is not None:
        energy = np.asarray(frames.energy, dtype=np.float64)
    else:
        raise DataError("the frames hold no energies: give the system whose they are, heat_capacity(frames, system)")
    weight = weights_of(frames)
    apart = energy - (weight @ energy) / weight.sum()  # an error of the mean adds its square only
    unit = 1.0 if frames.temperature is None else GAS_CONSTANT
    terms = unit * (apart / frames.kT) ** 2
    answer = average(terms, frames, draws, seed, "k" if unit == 1.0 else "kJ/mol/K")
    carried, k = weight * terms, frames.provenance.get("pareto_k", 0.0)
    few = carried.sum() ** 2 < FEWEST * (carried**2).sum()
    if own_draws(frames) and answer.warning is None and (k > WORST_K or few):
        answer = replace(answer, ci90=None, warning=_UNREACHED)
    return answer
