"""`ask`: questions in a notebook, with the numbers and the warnings of a run."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from pydantic import ValidationError

from bayescg.errors import ConfigError
from bayescg.inference.fitted import warned_if_failing
from bayescg.questions.finding import Finding
from bayescg.questions.known import check_names, note_given, strays
from bayescg.questions.question import Context, Question
from bayescg.questions.reading_order import QUESTIONS, Analysis, find_question

if TYPE_CHECKING:
    from bayescg.data import Frames
    from bayescg.inference import Fit

__all__ = ["answer", "applying", "ask"]

_FEWEST, _SOME = 10, 100


def ask(
    fit: Fit,
    frames: Frames | None = None,
    *questions: str | Question,
    train: Frames | None = None,
    test: Frames | None = None,
    system: Any = None,
    lag: float | None = None,
    simulated: Frames | None = None,
    at_trained: Frames | None = None,
    beside: Mapping[str, Fit] | None = None,
    seed: int = 0,
    **settings: Any,
) -> Finding:
    """Ask what a run asks.

    Parameters
    ----------
    fit : Fit
    frames : Frames, optional
        What averages are over. None: the fit's own samples (:meth:`bayescg.Fit.samples`).
    *questions : str or Question
        Names of ``bayescg.questions.QUESTIONS``, or questions of your own. None: all that apply.
    train, test : Frames, optional
        Of the frames, those of the training, and those that were held out from it: predictions are only checked
        against the latter.
    system : System, optional
        What the frames are of, where it is known: exact values then stand beside what is found. Default: the one that
        the model learned from.
    lag : float, optional
        Of comparisons between methods.
    simulated : Frames, optional
        Dynamics of a fitted potential, to lay beside the frames; where its chains are divided among draws of the
        potential, ``provenance["potential_draws"]`` is their number.
    at_trained : Frames, optional
        Dynamics of the potential at the trained values, beside those of draws.
    beside : mapping of str to Fit, optional
        Other models, trained on the same frames, by the names that they are given.
    seed : int
    **settings
        Keys of ``[analysis]`` of an experiment's file, and of the `Settings` of questions of your own.

    Returns
    -------
    Finding
        Of all questions together, with the warnings of the fit.

    Raises
    ------
    ConfigError
        A question, setting or observable that does not exist, or a question that does not apply.

    Examples
    --------
    >>> import bayescg as bcg
    >>> from bayescg.models import GeneratorEigenfunctions
    >>> model, frames, _ = GeneratorEigenfunctions.example()
    >>> fit = bcg.fit(model, frames, steps=20, seed=0)
    >>> finding = bcg.questions.ask(fit, frames, "slow_modes", system=bcg.systems.QuarticDoubleWell(), draws=100)
    >>> list(finding.quantities), round(finding.truth["eigenvalue_1"], 4)
    (['eigenvalue_1', 'timescale_1'], 0.7487)
    """
    wanted = [find_question(q) if isinstance(q, str) else q for q in questions]
    sections = {type(question).Settings: None for question in wanted if type(question).Settings.model_fields}
    try:
        analysis = type("Analysis", (Analysis, *(s for s in sections if not issubclass(Analysis, s))), {})(**settings)
    except ValidationError as error:
        wrong = "; ".join(f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors())
        raise ConfigError(f"bcg.questions.ask: {wrong}") from None
    context = Context(
        fit=fit,
        frames=fit.samples(analysis.samples, seed) if frames is None else frames,
        settings=analysis,
        seed=seed,
        train=train,
        test=test,
        system=getattr(fit.model, "system", None) if system is None else system,
        lag=lag,
        simulated=simulated,
        at_trained=at_trained,
        beside=beside or {},
    )
    topology, size = context.frames.topology, context.frames.positions[0].size
    named = getattr(context.system, "observables", {})
    check_names(analysis, topology, size if topology is None or context.weighted else 0, named)
    for question in wanted:
        if not question.applies(context):
            raise ConfigError(
                f"{question.name} cannot be asked of this {type(fit.model).__name__} and these frames: "
                f"{(type(question).applies.__doc__ or '').rstrip('.')}"
            )
    finding = answer(context, wanted or applying(context))
    of_fit = getattr(fit, "diagnostics", {}).get("warnings", [])
    of_truth = strays(analysis.truth, finding.quantities)
    finding.warnings = list(dict.fromkeys([*of_fit, *finding.warnings, *of_truth]))
    return finding


def applying(context: Context, names: Iterable[str] = ()) -> list[Question]:
    """The questions of these names, or all there are, that apply."""
    return [q for name in names or QUESTIONS if (q := find_question(name)).applies(context)]


def answer(context: Context, questions: Iterable[Question]) -> Finding:
    """Ask questions, one after the other, of the same fit and frames: all that was found, in one.

    A question that fails is a warning: the others are answered.
    """
    failures = Finding()
    findings = [failures]
    for question in questions:
        with warned_if_failing(f"what {question.name} asks", failures.warnings):
            findings.append(question.ask(context))
    finding = Finding.of(findings)
    note_given(finding, context.settings.truth)
    if context.weighted:
        if lost := context.fit.diagnostics.get("audit", {}).get("missing"):
            finding.withhold("; ".join(lost))
        judge_number(finding, len(context.frames), context.frames.provenance)
    return finding


def judge_number(finding: Finding, count: int, provenance: Any) -> None:
    """Take the intervals away where next to no draws count: the bootstrap knows only of weights that were drawn.

    Parameters
    ----------
    finding : Finding
    count : int
        Draws.
    provenance : mapping
        Of the draws, with ``ess_fraction`` and ``pareto_k``. Weights of a Pareto k above 1 need have no mean.
    """
    effective, k = count * float(np.mean(provenance["ess_fraction"])), provenance["pareto_k"]
    if effective >= _SOME and k <= 1:
        return
    beyond = f", and Pareto k is {k:.2f}, above 1" if k > 1 else ""
    few, remedy = f"only {effective:.0f} of {count} draws count{beyond}", "train for longer, or draw more samples"
    if effective < _FEWEST or k > 1:
        finding.distrust(f"{few}: averages say next to nothing, and have no interval; {remedy}")
    else:
        finding.warnings.append(f"{few}: intervals are rough; {remedy}")
