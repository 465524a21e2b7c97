"""Do probabilities of commitment come true: shots that were held out, and the exact committor where there is one."""

from __future__ import annotations

import math

import numpy as np
import torch

import bayescg as bcg
from bayescg.questions.finding import Drawing, Finding
from bayescg.questions.known import by_quadrature
from bayescg.questions.question import Context, Question

__all__ = ["HeldOutShots"]


class HeldOutShots(Question):
    """Reliability of the committor."""

    def applies(self, context: Context) -> bool:
        """To models of commitment, and shots that were held out from them."""
        test = context.test
        return hasattr(context.fit.model, "logits") and test is not None and test.commitments is not None

    def ask(self, context: Context) -> Finding:
        """Calibration error and scores, and the error of the committor where it is known exactly."""
        assert context.test is not None
        finding, held_out = Finding(), bcg.analysis.reliability(context.fit, context.test, seed=context.seed)
        finding.diagnostics["shots"] = {
            "calibration_error": held_out.calibration_error,
            "expected_error": held_out.expected_error,
            "log_score": held_out.log_score,
            "log_score_constant": held_out.log_score_constant,
            "inside_90": held_out.inside,
        }
        finding.in_words.add("shots")
        finding.remark(
            "Commitment",
            f"Foretold shares of {int(held_out.shots.sum())} shots that were held out differ from those counted by "
            f"{held_out.calibration_error:.3f} on average; by chance it would be {held_out.expected_error:.3f}. "
            f"{held_out.inside:.0%} of the counts lie in 90 % intervals.",
        )
        exact = self._exact(context)
        if exact is not None:
            q = bcg.analysis.commitment_probabilities(context.fit, context.test)[..., 1].mean(0)
            error = float(np.sqrt(np.mean((q - exact) ** 2)))
            finding.diagnostics["shots"]["rms_committor"] = error
            finding.remark("Commitment", f"Beside the exact committor it is off by {error:.3f}, root mean square.")
        finding.figures["shots"] = Drawing(
            lambda: bcg.plot.reliability(held_out),
            "Probability of commitment, foretold and counted, of held-out shots.",
        )
        return finding

    @staticmethod
    def _exact(context: Context) -> np.ndarray | None:
        """The committor at the held-out configurations, between two states of an analytic system."""
        states = getattr(context.system, "states", {})
        names = list(context.fit.model.regions)
        assert context.test is not None
        if len(names) != 2 or any(name not in states for name in names):
            return None
        if context.system is None or not math.isclose(context.test.kT, context.system.kT, rel_tol=1e-6):  # hotter shots
            return None
        a, b = (states[name] for name in names)
        exact = by_quadrature(context.system, lambda system: bcg.truth.committor(system, a, b, cells=80_000))
        if exact is None:
            return None
        return exact(torch.as_tensor(context.test.gather(slice(None)))).numpy()
