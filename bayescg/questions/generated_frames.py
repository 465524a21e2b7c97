"""What a generative Markov state model draws, frames and paths, beside the simulation and a reference."""

from __future__ import annotations

import copy
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from pydantic import Field

import bayescg as bcg
from bayescg.questions.finding import Drawing, Finding, Table
from bayescg.questions.known import interval
from bayescg.questions.question import Context, Question
from bayescg.questions.reference import histogram_of, residues, scatter
from bayescg.questions.samples import TRUST
from bayescg.questions.sections import Section
from bayescg.questions.slow_modes import known_rates, modes_of
from bayescg.systems import MolecularSystem
from bayescg.systems.forcefield import ForceField

if TYPE_CHECKING:
    from bayescg.data import Frames
    from bayescg.questions.references import Reference

__all__ = ["GeneratedFrames", "bonded_energies", "crossings"]

_OF_EACH_STATE = 2000
_FEWEST_CROSSINGS = 10
_STARTS = 20
_COMPARED = 5000
_PROPOSED = 50


class GeneratedFrames(Question):
    """Populations, timescales, the Ramachandran plane and energies of what a generator draws."""

    class Settings(Section):
        """So many steps of the lag time (`path_steps`) are those paths whose bonds and angles are looked at."""

        path_steps: int = Field(default=200, ge=1)

    def applies(self, context: Context) -> bool:
        """To models with a generator."""
        return getattr(getattr(context.fit, "model", None), "generator", None) is not None

    def ask(self, context: Context) -> Finding:
        """All of it, with intervals from refits; where nothing is known of a region, no interval."""
        from bayescg.questions.references import load_reference

        name = context.settings.reference
        reference = None if name is None else load_reference(name)
        finding = Finding(truth_is="truth" if reference is None else "reference")
        finding.diagnostics["generated"] = {}
        finding.in_words.add("generated")
        states = bcg.analysis.generated_states(context.fit, context.frames, _OF_EACH_STATE, context.seed)
        slow = modes_of(context).eigenvalues.sizes["mode"]
        rates = known_rates(context, slow)
        for mode in range(1, min(slow, states.eigenvalues.shape[1]) + 1):
            finding.add(f"generated_timescale_{mode}", states.timescale(mode), 1.0 / rates[mode - 1])
        self._populations(finding, context, states, reference)
        if reference is not None:
            self._planes(finding, context, reference)
        if isinstance(context.system, MolecularSystem):
            self._paths(finding, context)
        return finding

    def _populations(self, finding: Finding, context: Context, states: Any, reference: Reference | None) -> None:
        rows = []
        for name, region in context.settings.regions.items():
            (named,) = region.items()
            inside = interval(context.system if context.system is not None else context.frames, named)
            stored = None
            if reference is not None and reference.regions.get(name) == region:
                stored = finding.truth[f"population_{name}"] = reference.populations[name][0]
            entries, exits = crossings(inside, context.frames)
            quantity = states.population(inside)
            if min(entries, exits) < _FEWEST_CROSSINGS and quantity.ci90 is not None:
                few = f"trajectories entered it {entries} times and left it {exits} times, fewer than"
                quantity = bcg.analysis.Quantity.of(quantity.draws, "", f"{few} {_FEWEST_CROSSINGS}: simulate longer")
            finding.add(f"generated_population_{name}", quantity, stored)
            if quantity.warning:
                finding.warnings.append(f"generated population of {name}: {quantity.warning}")
            ends = quantity.ci90
            rows.append(
                (name, f"{quantity.mean:.4g}", "none" if ends is None else f"{ends[0]:.3g} to {ends[1]:.3g}",
                 "" if stored is None else f"{stored:.4g}", str(entries), str(exits))
            )  # fmt: skip
        if rows:
            finding.tables["Generated populations"] = Table(
                ("region", "generated", "90 %", "reference", "entries", "exits"), rows,
                "Shares of the frames that the model draws, with the spread between its refits. How often the "
                "trajectories it learned from entered and left a region bounds what anyone can know of it.",
            )  # fmt: skip

    def _planes(self, finding: Finding, context: Context, reference: Reference) -> None:
        """Divergence of the Ramachandran plane, and its figure."""
        from bayescg.analysis.evaluation import evaluate

        fit, seed, frames = context.fit, context.seed, context.frames
        draws = fit.weights.members or 1
        count = -(-context.settings.samples // draws)
        u = fit.generated_inputs(count, draws=draws, seed=seed, replicates=True).flatten(0, 1)
        x = torch.cat([fit.model.positions(part) for part in u.split(20_000)])
        for key, of, plane, pair in residues(reference):
            functions = context.functions(pair)
            generated = histogram_of(reference, [f(x).double().cpu().numpy() for f in functions])
            simulated = histogram_of(reference, [evaluate(f, frames) for f in functions], frames.weights)
            exact = scatter(plane, len(x), seed)
            numbers = {
                "reference": context.settings.reference, "kl_generated": plane.divergence(generated),
                "kl_frames": plane.divergence(simulated), "generated": len(x), "kl_exact_draws_generated": exact,
                "kl_floor_of_reference": plane.kl_floor,
            }  # fmt: skip
            finding.diagnostics["generated"][key] = numbers
            finding.remark(
                TRUST,
                f"Ramachandran plot{of}, Kullback-Leibler divergence from {numbers['reference']}: "
                f"{numbers['kl_generated']:.2g} of {len(x):,} generated frames, where as many exact draws have "
                f"{exact:.2g}; {numbers['kl_frames']:.2g} of the {len(frames):,} frames of the simulation. The "
                f"reference's own error is {plane.kl_floor:.1g}.",
            )
            finding.figures[f"generated{of.replace(' ', '_')}"] = Drawing(
                partial(
                    bcg.plot.coarse_grained, generated[None], plane.counts, reference.edges, pair,
                    ("reference", "generated"),
                ),
                f"Free energy over {' and '.join(pair)} of the reference, of generated frames, and their difference, "
                "where both have ten frames in a bin.",
            )  # fmt: skip

    def _paths(self, finding: Finding, context: Context) -> None:
        """Energies of bonds and angles at the end of paths, and what the Metropolis correction accepts."""
        from bayescg.data import evenly

        fit, frames, system, seed = context.fit, context.frames, context.system, context.seed
        steps, draws = context.settings.path_steps, fit.weights.members
        starts = frames.subset(evenly(frames, _STARTS))
        path = fit.sample_path(starts, steps, draws, seed)
        last = np.flatnonzero(np.arange(len(path)) % steps >= steps - max(1, steps // 4))
        of_path = bonded_energies(system, path.subset(last))
        of_frames = bonded_energies(system, frames.subset(evenly(frames, _COMPARED)))
        corrected = fit.sample_path(starts, _PROPOSED, draws, seed, system)
        accepted = corrected.provenance["acceptance"]
        finding.diagnostics["generated"] |= {
            "energy_per_term_kT": of_path, "energy_per_term_kT_of_frames": of_frames, "acceptance": accepted,
        }  # fmt: skip
        words = " and ".join(
            f"{of_path[n]:.3f} kT a term of {n} ({of_frames[n]:.3f} in the simulation)" for n in of_path
        )
        finding.remark(
            TRUST,
            f"After {steps} steps of the lag time, paths have {words}.",
            f"Of steps that are to keep the Boltzmann distribution itself {accepted:.0%} are accepted (Metropolis).",
        )


def crossings(inside: Any, frames: Frames) -> tuple[int, int]:
    """How often trajectories entered a region, and how often they left it.

    Examples
    --------
    >>> frames = bcg.data.Frames.from_numpy([[0.0], [1.0], [0.0], [1.0]], unit="reduced", trajectory=[0, 0, 0, 1])
    >>> crossings(lambda x: x[:, 0] > 0.5, frames)
    (1, 1)
    """
    from bayescg.analysis.evaluation import evaluate

    within = evaluate(inside, frames) > 0
    same = np.diff(frames.trajectory) == 0
    return int((~within[:-1] & within[1:] & same).sum()), int((within[:-1] & ~within[1:] & same).sum())


def bonded_energies(system: MolecularSystem, frames: Frames) -> dict[str, float]:
    """Mean energy of a harmonic bond and of a harmonic angle, in kT: about half of one in equilibrium.

    Examples
    --------
    >>> system = bcg.systems.alanine_dipeptide()
    >>> frames = bcg.data.Frames.from_numpy(system.start[None], unit="nm", topology=system.topology, temperature=330.0)
    >>> sorted(bonded_energies(system, frames))
    ['angles', 'bonds']
    """
    x = torch.as_tensor(frames.gather(slice(None))).double()
    energies = {}
    for name, kind, number in (
        ("bonds", "HarmonicBondForce", "getNumBonds"),
        ("angles", "HarmonicAngleForce", "getNumAngles"),
    ):
        alone = copy.deepcopy(system.openmm_system)
        for index in reversed(range(alone.getNumForces())):
            if type(alone.getForce(index)).__name__ != kind:
                alone.removeForce(index)
        terms = sum(getattr(force, number)() for force in alone.getForces())
        if terms:
            energy = ForceField(alone).energy(x).mean()
            energies[name] = float(energy) / system.kT / terms
    return energies
