"""How replicas of umbrella sampling mixed along their ladder of windows."""

from __future__ import annotations

import numpy as np

import bayescg as bcg
from bayescg.questions.finding import Drawing, Finding, Table
from bayescg.questions.question import Context, Question

__all__ = ["MixingAlongTheLadder"]


class MixingAlongTheLadder(Question):
    """Where replicas of each window came from, and how windows hang together."""

    def applies(self, context: Context) -> bool:
        """To biased frames."""
        return context.frames.bias is not None

    def ask(self, context: Context) -> Finding:
        """A table of the windows, and a warning where they did not mix."""
        mixed, finding = bcg.analysis.mixing(context.frames), Finding()
        finding.diagnostics["ladder"] = {
            "mixed": mixed.mixed,
            "round_trips": mixed.round_trips,
            "born_high": [float(v) for v in mixed.born_high[[0, -1]]],
            "smallest_overlap": float(mixed.overlap.min()),
        }
        finding.in_words.add("ladder")
        finding.remark("Mixing", f"{mixed.reason[0].upper()}{mixed.reason[1:]}.")
        if not mixed.mixed:
            finding.warnings.append(mixed.reason)
        moved = np.abs(np.diff(mixed.halves, axis=0)).max()
        rows = []
        for k, centre in enumerate(context.frames.provenance.get("centres", range(len(mixed.born_high)))):
            accepted = None if mixed.acceptance is None or k >= len(mixed.acceptance) else mixed.acceptance[k]
            rows.append(
                (
                    f"{k}", f"{centre:.3g}", "" if accepted is None else f"{accepted:.0%}",
                    "" if k >= len(mixed.overlap) else f"{mixed.overlap[k]:.2f}", f"{mixed.born_high[k]:.0%}",
                )
            )  # fmt: skip
        finding.tables["Windows"] = Table(
            ("window", "centre", "exchanged with the next", "overlap with the next", "born in the upper half"),
            rows,
            f"Mixed, the last column is nearly the same in all windows. Free energies of windows by the first and the "
            f"second half of the time differ by at most {moved:.2g} kT.",
        )
        finding.figures["ladder"] = Drawing(
            lambda: bcg.plot.mixing(mixed),
            "Share of each window's frames that come from replicas born in the upper half of the ladder, and overlap "
            "of neighbouring windows.",
        )
        return finding
