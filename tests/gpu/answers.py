"""All that a run asks of fits on a device, as `bayescg check` asks it of those on the processor."""

import time
import warnings
from typing import Any

from bayescg.contract.answer_checks import answers, cv
from bayescg.contract.case import Case
from bayescg.contract.outcomes import attempt
from bayescg.inference.fitted import Fit
from bayescg.modelling import find_model, model_names
from tests.gpu.lines import Line

__all__ = ["answers_of", "planned"]

SECTION = "Answers of fits on the device: seconds that all of them took"
_CHECKS = {"cv": cv, "answers": answers}


class _There(Case):
    """The example of a model, fitted on the device."""

    where = "cpu"

    def fit(self, frames: Any = None, **settings: Any) -> Fit:
        return super().fit(frames, **settings, device=self.where)


def planned(models: tuple[str, ...]) -> list[Line]:
    """All lines, none of them tried."""
    return [Line(SECTION, n, c) for n in model_names() if n in models or not models for c in _CHECKS]


def answers_of(name: str, device: str, until: float) -> list[Line]:
    """The lines of one model, skipped where they are not begun by the time `until`."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        case = _There(find_model(name), seed=0, quick=True)
        case.where = device
        lines = planned((name,))
        for line in lines:
            began = time.time()
            if began > until:
                line.words = "no time was left"
                continue
            outcome = attempt(line.column, _CHECKS[line.column], case)
            line.status, line.words = "passed" if outcome.ok else "failed", outcome.detail
            line.value = line.seconds = time.time() - began
    return lines
