"""What every model must keep, tried on its own example: what ``bayescg check FILE.py`` runs."""

from __future__ import annotations

from collections.abc import Callable

import torch

from bayescg.contract.answer_checks import answers, cv
from bayescg.contract.case import Case
from bayescg.contract.outcomes import Fault, Outcome, attempt
from bayescg.contract.program_checks import (
    compiled,
    finite_differences,
    gradients,
    prior_predictive,
    traced,
    unbiased,
    weights,
)
from bayescg.contract.training_checks import config, few_frames, isolation, save_and_load, training
from bayescg.modelling.model import KINDS, Model

__all__ = ["check_model"]

_CHECKS: dict[str, Callable[[Case], str]] = {
    "gradients": gradients,
    "finite differences": finite_differences,
    "minibatches": unbiased,
    "weights": weights,
    "few frames": few_frames,
    "tracing": traced,
    "config": config,
    "save and load": save_and_load,
    "prior predictive": prior_predictive,
    "training": training,
    "isolation": isolation,
    "cv": cv,
    "answers": answers,
}


def check_model(model_class: type[Model], seed: int = 0, quick: bool = False) -> list[Outcome]:
    """Try a model class on its own `example`.

    Where the example cannot be made or its two programs do not belong together, that one fault is reported and
    nothing else is run.

    Parameters
    ----------
    model_class : type
        Subclass of `Model`.
    seed : int
    quick : bool
        Start neither the compiler nor another process, which take most of the time.

    Returns
    -------
    list of Outcome

    Examples
    --------
    >>> from bayescg.models import PredictiveCV
    >>> class Undecided(PredictiveCV):
    ...     kind = "perhaps"
    >>> check_model(Undecided)[0].detail
    "kind is 'perhaps'; it must be one of evidence, generalised, resampled"
    """
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # of examples so small, threads on a busy machine would mostly wait for each other
    try:
        return _outcomes(model_class, seed, quick)
    finally:
        torch.set_num_threads(threads)


def _outcomes(model_class: type[Model], seed: int, quick: bool) -> list[Outcome]:
    outcomes = [attempt("description", _description, model_class)]
    cases: list[Case] = []
    outcomes.append(attempt("programs", lambda: _programs(cases, model_class, seed, quick)))
    for case in cases:
        outcomes += [attempt(name, check, case) for name, check in _CHECKS.items()]
        sound = all(outcome.ok for outcome in outcomes)  # the dearest check comes last
        outcomes.append(attempt("compiling", compiled if sound else lambda _: "not tried: mend the others first", case))
    return outcomes


def _description(model_class: type[Model]) -> str:
    if model_class.kind not in KINDS:
        raise Fault(f"kind is {model_class.kind!r}; it must be one of {', '.join(KINDS)}")
    cited = "documented with a reference"
    if "References" not in (model_class.__doc__ or ""):
        cited = "advice: a docstring with a section References, the paper and its equations, helps readers"
    return f"kind {model_class.kind!r}; {cited}"


def _programs(cases: list[Case], model_class: type[Model], seed: int, quick: bool) -> str:
    cases.append(Case(model_class, seed, quick))
    random = cases[0].names
    return f"the sites agree; {len(random)} random parameters" + (f": {', '.join(random)}" if random else "")
