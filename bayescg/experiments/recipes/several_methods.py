"""Several models asked the same of the same data sets, several times over, and what that says of them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from bayescg.experiments import build
from bayescg.experiments.recipes.from_frames import simulated_energies, source
from bayescg.experiments.recipes.recipe import Recipe, Stage, fitted
from bayescg.inference.fitted import warned_if_failing
from bayescg.questions import Context, Finding, Question
from bayescg.questions.asking import answer, applying
from bayescg.questions.known import strays
from bayescg.questions.studies import CONCLUSION, in_words, over_data_sets

if TYPE_CHECKING:
    from bayescg.data import Frames
    from bayescg.experiments.schema import Experiment
    from bayescg.inference import Fit

__all__ = ["SeveralMethods"]

_SHARED = "the data sets are the same frames, split anew: methods differ by training and split alone"


class SeveralMethods(Recipe):
    """Frames, a fit of every model to every data set, questions, conclusions over the data sets."""

    def __init__(self, experiment: Experiment, path: Path):
        super().__init__(experiment, path)
        assert experiment.compare is not None
        self.study = experiment.compare
        self.methods = build.methods(experiment)
        first = experiment.run.seed * self.study.replicates  # runs of other seeds share no data set with this one
        self.seeds = range(first, first + self.study.replicates)
        self.data: list[tuple[Frames, Frames, Frames]] = []
        self.trained: dict[str, list[Fit]] = {}
        self.contexts: dict[str, list[Context]] = {}

    @classmethod
    def serves(cls, experiment: Experiment) -> bool:
        """A file with a section ``[compare]``."""
        return experiment.compare is not None

    def stages(self) -> Iterator[Stage]:
        """Frames, fits."""
        if any(self._needs_frames(name) for name in self.methods):
            yield "frames", f"{source(self.experiment)}, {self.study.replicates} data sets", self._frames
        count = f"{len(self.methods)} models on each of {self.study.replicates} data sets"
        yield "fit", count, self._fits
        self.subject = f"{', '.join(self.study.questions) or 'all that applies'}, of each"

    def ask(self) -> Finding:
        """The same of each model and data set, then what the answers say of the models."""
        self.contexts = {
            name: [self._context(name, fit, k) for k, fit in enumerate(fits)] for name, fits in self.trained.items()
        }
        answers: dict[Question, dict[str, list[Finding]]] = {}
        for name, each in self.contexts.items():
            questions = applying(each[0], self.study.questions)
            for context in each:
                for question in questions:
                    answers.setdefault(question, {}).setdefault(name, []).append(_numbers(question, context))
                context.forget()
        parts = {
            question.name: self._over_data_sets(question, by_method)
            for question, by_method in answers.items()
            if any(a.quantities or a.warnings for each in by_method.values() for a in each)
        }
        if len(parts) > 1:  # groups and figures of their own
            for name, part in parts.items():
                part.datasets = {f"comparison/{name}": table for table in part.datasets.values()}
                part.figures = {f"{figure}_{name}": drawing for figure, drawing in part.figures.items()}
        finding = Finding.of(parts.values())
        finding.diagnostics["conclusion"] = " ".join(finding.remarks.get(CONCLUSION, []))
        finding.in_words.add("conclusion")
        answered = {question.name for question in answers}
        finding.warnings += [
            f"compare.questions names {name}, which none of these models can be asked"
            for name in self.study.questions
            if name not in answered
        ]
        plain = {
            quantity: None for each in answers.values() for of in each.values() for a in of for quantity in a.quantities
        }
        finding.warnings += strays(self.experiment.analysis.truth, plain)
        finding.warnings += [_SHARED] if self.experiment.data.frames is not None else []
        return finding

    def posterior(self) -> None:
        """None of a single fit."""

    def fits(self) -> list[Fit]:
        """Of all models and data sets."""
        return [fit for fits in self.trained.values() for fit in fits]

    def energies(self) -> int:
        """Those of all simulations, and of models that query the system, their weighted draws among them."""
        queried = [context for each in self.contexts.values() for context in each if context.weighted]
        return sum(simulated_energies(self.experiment, len(frames)) for frames, _, _ in self.data) + sum(
            context.fit.cost["energy_evaluations"] + context.frames.provenance["energy_evaluations"]
            for context in queried
        )

    def _needs_frames(self, name: str) -> bool:
        return build.learns_from_frames(self.methods[name])

    def _at(self, name: str, seed: int) -> Experiment:
        method = self.methods[name]
        return method.model_copy(update={"run": method.run.model_copy(update={"seed": seed})})

    def _frames(self) -> None:
        plain = next(name for name in self.methods if self._needs_frames(name))
        for seed in self.seeds:
            if self.data and self.experiment.data.frames is not None:
                frames = self.data[0][0]
            else:
                frames = build.frames_of(self._at(plain, seed), self._trajectories(seed))
            train, test = frames.split(blocks=20, test=self.experiment.fit.held_out, seed=seed)
            self.data.append((frames, train, test))

    def _trajectories(self, seed: int) -> Path:
        return self.path / "trajectories" / str(seed)

    def _fits(self) -> None:
        for name in self.methods:
            self.trained[name] = []
            for k, seed in enumerate(self.seeds):
                train = self.data[k][1] if self._needs_frames(name) else None
                saved = self.path / "fits" / f"{name}-{seed}"
                self.trained[name].append(fitted(self._at(name, seed), train, saved, self._trajectories(seed)))

    def _context(self, name: str, fit: Any, k: int) -> Context:
        seed, settings, lag = self.seeds[k], self.experiment.analysis, self.study.lag
        if name in self.methods and not self._needs_frames(name):
            draws, system = fit.samples(settings.samples, seed), getattr(fit.model, "system", None)
            return Context(fit=fit, frames=draws, settings=settings, seed=seed, system=system, lag=lag)
        frames, train, test = self.data[k]
        return Context(
            fit=fit, frames=frames, settings=settings, seed=seed, train=train, test=test, system=self.system, lag=lag
        )

    def _over_data_sets(self, question: Question, answers: dict[str, list[Finding]]) -> Finding:
        """One question's answers: a quantity for each method, and conclusions."""
        for name, function in question.beside().items():
            self.contexts[name] = [self._context(name, function, k) for k in range(len(self.seeds))]
            answers[name] = [_numbers(question, context) for context in self.contexts[name]]
        finding = Finding()
        for name, each in answers.items():
            finding.warnings += [f"{in_words(name)}: {warning}" for a in each for warning in a.warnings]
            plain = [k for k, v in each[0].diagnostics.items() if isinstance(v, int | float)]
            means = {k: float(np.mean([a.diagnostics.get(k, np.nan) for a in each])) for k in plain}
            if means:
                finding.diagnostics.setdefault(question.name, {})[name] = means
        for quantity in dict.fromkeys(q for each in answers.values() for a in each for q in a.quantities):
            partly = []
            for name, each in answers.items():
                values = [a.quantities[quantity] for a in each if quantity in a.quantities]
                means = np.array([value.mean for value in values])
                if len(values) == len(each) and np.isfinite(means).all():
                    over = over_data_sets(means, values[0].unit, question.scales.get(quantity))
                    finding.add(f"{quantity}_{name}", over, each[0].truth.get(quantity))
                elif values:
                    partly.append(in_words(name))
            if partly:
                finding.warnings.append(f"{quantity} is not known of every data set: {', '.join(partly)}")
        complete = {name: each for name, each in answers.items() if all(a.quantities for a in each)}
        if not complete:
            return finding
        with warned_if_failing(f"what {question.name} says of the methods", finding.warnings):
            tables = [xr.concat(map(question.numbers, each), "replicate") for each in complete.values()]
            names = xr.DataArray(list(complete), dims="model", name="model")
            table = xr.concat(tables, names, combine_attrs="override")
            table = table.assign_coords(replicate=np.arange(len(self.seeds))).assign_attrs(lag=self.study.lag or 0.0)
            verdict = question.compare(table, self.contexts, self.study.order)
            verdict.datasets = {"comparison": next(iter(verdict.datasets.values()), table)}
            return Finding.of([finding, verdict])
        return finding


def _numbers(question: Question, context: Context) -> Finding:
    """What one method says of one data set, without figures, which would hold all that they show in memory."""
    return replace(answer(context, [question]), figures={})
