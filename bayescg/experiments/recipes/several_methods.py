"""Several models asked the same of the same data sets, several times over, and what that says of them."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from bayescg.experiments import build
from bayescg.experiments.recipes.from_frames import simulated_energies, source
from bayescg.experiments.recipes.recipe import Recipe, Stage, fitted
from bayescg.questions import Context, Finding, Question
from bayescg.questions.asking import applying
from bayescg.questions.reading_order import QUESTIONS, find_question
from bayescg.questions.studies import CONCLUSION, over_data_sets

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
        first_name = re.sub(r"(?<=[a-z])(?=[A-Z])", "_", experiment.model.name.rpartition(":")[2]).lower()
        self.methods = {first_name: experiment.model_copy(update={"compare": None}), **build.compared(experiment)}
        first = experiment.run.seed * self.study.replicates  # runs of other seeds share no data set with this one
        self.seeds = range(first, first + self.study.replicates)
        self.data: list[tuple[Frames, Frames, Frames]] = []
        self.trained: dict[str, list[Fit]] = {}

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
        contexts = {
            name: [self._context(name, fit, k) for k, fit in enumerate(fits)] for name, fits in self.trained.items()
        }
        answers: dict[Question, dict[str, list[Finding]]] = {}
        for name, each in contexts.items():
            for question in applying(each[0], self.study.questions):
                answers.setdefault(question, {})[name] = [question.ask(context) for context in each]
        parts = []
        for question, by_name in answers.items():
            for name, function in question.beside().items():
                baseline = [self._context(name, function, k) for k in range(len(self.seeds))]
                contexts[name] = baseline
                by_name[name] = [question.ask(context) for context in baseline]
            part = self._over_data_sets(question, by_name, contexts)
            if len(answers) > 1:  # a group of its own
                part.datasets = {f"comparison/{_name_of(question)}": table for table in part.datasets.values()}
            parts.append(part)
        finding = Finding.of(parts)
        finding.diagnostics["conclusion"] = " ".join(finding.remarks.get(CONCLUSION, []))
        finding.in_words.add("conclusion")
        finding.warnings += [w for fit in self.fits() for w in fit.diagnostics["warnings"]]
        finding.warnings += [_SHARED] if self.experiment.data.frames is not None else []
        return finding

    def posterior(self) -> None:
        """None of a single fit."""

    def fits(self) -> list[Fit]:
        """Of all models and data sets."""
        return [fit for fits in self.trained.values() for fit in fits]

    def energies(self) -> int:
        """Those of all simulations, and of models that query the system."""
        simulated = sum(simulated_energies(self.experiment, len(frames)) for frames, _, _ in self.data)
        return simulated + sum(fit.cost["energy_evaluations"] for fit in self.fits() if not fit.model.needs_frames)

    def _needs_frames(self, name: str) -> bool:
        return build.model_class(self.methods[name].model.name).needs_frames

    def _at(self, name: str, seed: int) -> Experiment:
        method = self.methods[name]
        return method.model_copy(update={"run": method.run.model_copy(update={"seed": seed})})

    def _frames(self) -> None:
        plain = next(name for name in self.methods if self._needs_frames(name))
        for seed in self.seeds:
            frames = build.frames_of(self._at(plain, seed), self.path / "trajectories" / str(seed))
            train, test = frames.split(blocks=20, test=self.experiment.fit.held_out, seed=seed)
            self.data.append((frames, train, test))

    def _fits(self) -> None:
        for name in self.methods:
            self.trained[name] = []
            for k, seed in enumerate(self.seeds):
                train = self.data[k][1] if self._needs_frames(name) else None
                saved = self.path / "fits" / f"{name}-{seed}"
                self.trained[name].append(fitted(self._at(name, seed), train, saved, self.path / "trajectories"))

    def _context(self, name: str, fit: Any, k: int) -> Context:
        seed, settings = self.seeds[k], self.experiment.analysis
        shared: dict[str, Any] = {"settings": settings, "seed": seed, "lag": self.study.lag, "system": self.system}
        if name in self.methods and not self._needs_frames(name):
            return Context(fit=fit, frames=fit.samples(settings.samples, seed), **shared)
        frames, train, test = self.data[k]
        return Context(fit=fit, frames=frames, train=train, test=test, **shared)

    def _over_data_sets(
        self, question: Question, answers: Mapping[str, Sequence[Finding]], contexts: Mapping[str, list[Context]]
    ) -> Finding:
        """One question's answers: a quantity for each method, and conclusions."""
        finding = Finding(warnings=[w for each in answers.values() for answer in each for w in answer.warnings])
        for name, each in answers.items():
            for quantity, first in each[0].quantities.items():
                if not all(quantity in answer.quantities for answer in each):
                    continue
                values = np.array([answer.quantities[quantity].mean for answer in each])
                over = over_data_sets(values, first.unit, question.scales.get(quantity))
                finding.add(f"{quantity}_{name}", over, each[0].truth.get(quantity))
        tables = {name: xr.concat([_table(answer) for answer in each], "replicate") for name, each in answers.items()}
        names = xr.DataArray(list(tables), dims="model", name="model")
        table = xr.concat(list(tables.values()), names, combine_attrs="override")
        table = table.assign_coords(replicate=np.arange(len(self.seeds))).assign_attrs(lag=self.study.lag or 0.0)
        verdict = question.compare(table, contexts, self.study.order)
        verdict.datasets = {"comparison": next(iter(verdict.datasets.values()), table)}
        return Finding.of([finding, verdict])


def _name_of(question: Question) -> str:
    return next(name for name in QUESTIONS if find_question(name) is question)


def _table(answer: Finding) -> xr.Dataset:
    """Its dataset of draws, or the means of its quantities."""
    if len(answer.datasets) == 1:
        return next(iter(answer.datasets.values()))
    return xr.Dataset({name: quantity.mean for name, quantity in answer.quantities.items()})
