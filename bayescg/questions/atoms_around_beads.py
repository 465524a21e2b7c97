"""Atoms that a backmapping places around the beads of frames it has not seen, beside the atoms of these frames."""

from __future__ import annotations

import math
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
import torch

import bayescg as bcg
from bayescg.questions.finding import Drawing, Finding, Table
from bayescg.questions.question import Context, Question

if TYPE_CHECKING:
    from bayescg.data import Frames

__all__ = ["AtomsAroundBeads", "with_atoms_placed"]

_SLIGHT = 0.05
_RARE = 1e-3
_FEWEST = 10
"""Refits whose spread is that of the parameters."""


class AtomsAroundBeads(Question):
    """Averages and spreads of observables, frame by frame, and energies."""

    def applies(self, context: Context) -> bool:
        """To a backmapping, where some frames were held out."""
        return context.test is not None and hasattr(getattr(context.fit, "model", None), "around")

    def ask(self, context: Context) -> Finding:
        """How far averages of atoms that are placed are off, with errors of the differences, and their figure."""
        assert context.test is not None
        test = replace(context.test, bias=None)
        finding = Finding()
        finding.diagnostics["backmapped"] = {}
        finding.in_words.add("backmapped")
        functions = context.functions(context.observables)
        members = context.fit.weights.members or 0
        placed = with_atoms_placed(context, test, None)
        draws = with_atoms_placed(context, test, members) if members >= _FEWEST else placed
        self._averages(finding, context, test, draws, functions)
        if context.system is not None:
            self._energies(finding, context, test, placed)
        finding.figures["backmapped"] = Drawing(
            partial(bcg.plot.backmapped, placed, test, functions),
            "Distributions of observables over frames that were held out, and over atoms placed around their beads.",
        )
        return finding

    def _averages(self, finding: Finding, context: Context, test: Frames, placed: Frames, functions: list) -> None:
        from bayescg.analysis.evaluation import evaluate, label, unit_of, wrap
        from bayescg.analysis.resampled import average

        rows, wrong, draws, seed = [], [], context.settings.draws, context.seed
        for function in functions:
            name, unit = label(function), unit_of(function)
            values, theirs = evaluate(function, placed), evaluate(function, test)
            difference = wrap(values - theirs) if unit == "rad" else values - theirs
            off = average(difference, placed, draws, seed, unit)
            finding.add(f"{name}_off_by", off, 0.0)
            spread, theirs_spread = (float(np.std(wrap(v) if unit == "rad" else v)) for v in (values, theirs))
            # two independent draws around one set of beads differ by twice the variance that beads leave
            left = float(np.sqrt(np.mean(difference**2) / 2))
            finding.diagnostics["backmapped"][name] = {
                "off_by": off.mean, "sd": off.sd, "spread_off": spread / theirs_spread - 1, "left_open_by_beads": left,
                "unit": unit,
            }  # fmt: skip
            rows.append(
                (name, f"{theirs.mean():.4g} {unit}".rstrip(), f"{off.mean:+.2g} ± {off.sd:.1g}",
                 f"{off.mean / theirs_spread:+.2f} sd", f"{100 * (spread / theirs_spread - 1):+.1f} %", f"{left:.2g}")
            )  # fmt: skip
            if max(abs(off.mean) / theirs_spread, abs(spread / theirs_spread - 1)) > _SLIGHT:
                wrong.append(name)
        finding.tables["Atoms placed around beads"] = Table(
            ("observable", "frames", "off by", "in its spread", "spread off by", "left open by beads"), rows,
            "Atoms are placed around the beads of each frame that was held out, and compared with its own: the error "
            "of the difference is that of finitely many frames and, where there are refits enough, of the density. "
            "What beads leave open is the standard deviation of an observable once its beads are known.",
            brief=5, hint="off by: placed less own, frame by frame",
        )  # fmt: skip
        if wrong:
            finding.warnings.append(
                f"atoms placed around beads have another average or spread than those of held-out frames, by more than "
                f"{_SLIGHT:.0%} of it: {', '.join(wrong)}; train for longer, on more frames, or with more layers"
            )

    def _energies(self, finding: Finding, context: Context, test: Frames, placed: Frames) -> None:
        placed_energies, theirs = (_energies(context, frames) for frames in (placed, test))
        limit = float(np.quantile(theirs, 1 - _RARE))
        above, higher = float((placed_energies > limit).mean()), float(np.median(placed_energies) - np.median(theirs))
        finding.diagnostics["backmapped"]["energy"] = {"median_above_kT": higher, "share_above_all_but_rare": above}
        finding.remark(
            "Atoms placed around beads",
            f"Energies of placed atoms are {higher:+.2f} kT from those of the frames in their medians, of "
            f"{3 * math.prod(placed.positions.shape[1:2])} coordinates; {above:.2%} of them are above what all but "
            f"{_RARE:.1%} of the frames have, most by atoms too near to each other.",
        )


def with_atoms_placed(context: Context, frames: Frames, draws: int | None) -> Frames:
    """The frames with all but their beads placed anew."""
    mapping = context.fit.model.mapping
    beads = mapping.bead_positions(torch.as_tensor(frames.gather(slice(None)))).numpy()
    mapped = replace(
        frames, positions=beads, topology=mapping.topology, momenta=None, forces=None, energy=None, masses=None,
        provenance={},
    )  # fmt: skip
    return bcg.sampling.backmapped(context.fit, mapped, draws, context.seed)


def _energies(context: Context, frames: Frames) -> np.ndarray:
    x = torch.as_tensor(frames.gather(slice(None))).double().flatten(1)
    return np.concatenate([context.system.energy(part).numpy() for part in x.split(4096)]) / context.system.kT
