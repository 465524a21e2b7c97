"""What weighted draws or biased frames say of a molecule, held to a reference."""

from __future__ import annotations

import ast
import inspect
import math
import re
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
from pydantic import BeforeValidator

import bayescg as bcg
from bayescg.errors import ConfigError
from bayescg.questions.finding import Drawing, Finding
from bayescg.questions.free_energies import difference_name, profiled
from bayescg.questions.known import reference_profile
from bayescg.questions.question import Context, Question
from bayescg.questions.samples import TRUST
from bayescg.questions.sections import Section

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from bayescg.modelling import Model
    from bayescg.questions.references import Plane, Reference

__all__ = ["HeldToReference", "histogram_of", "residues", "scatter"]

_REMEDY = "analysis.reference=none, which compares with nothing"
_OBSERVABLES = ("rg", "rg_mass", "end_to_end")
_MOST = 100_000
_LOW = (3.0, 5.0)
_MERGED = 2


class HeldToReference(Question):
    """Populations of a shipped reference, and the divergence of the Ramachandran plot from it."""

    class Settings(Section):
        """A shipped reference (:mod:`bayescg.questions.references`) by name, or ``"none"``."""

        reference: Annotated[str | None, BeforeValidator(lambda value: None if value == "none" else value)] = None

    def check(self, experiment: Any, model: type[Model]) -> None:
        """Refuse a reference that does not exist or is of another system, before anything is computed.

        Raises
        ------
        ConfigError
        """
        from bayescg.questions.references import load_reference, reference_names

        name = experiment.analysis.reference
        if name is None or experiment.system is None:
            return
        generates = experiment.model.arguments.get("generator") is not None
        if model.needs_frames and experiment.umbrella is None and not generates:
            raise ConfigError(
                f"analysis.reference judges runs without frames, with [umbrella] or of a model with a generator; "
                f"{experiment.model.name} learns from frames: leave it out"
            )
        if name not in reference_names():
            shipped = ", ".join(reference_names())
            raise ConfigError(f'analysis.reference = "{name}": there is none; shipped are {shipped}')
        call = load_reference(name).made["system"]
        molecule, theirs = _called(call)
        if experiment.system.name != molecule:
            raise ConfigError(f"the reference {name} is of {call}, not of {experiment.system.name}: {_REMEDY}")
        parameters = inspect.signature(getattr(bcg.systems, molecule)).parameters
        ours = {key: experiment.system.arguments.get(key, parameters[key].default) for key in theirs}
        others = [key for key in theirs if ours[key] != theirs[key]]
        if others:
            ours_differ = ", ".join(f"{key} = {ours[key] or 'none'}" for key in others)
            wanted = ", ".join(f"system.{key}={theirs[key] or 'none'}" for key in others)
            raise ConfigError(
                f"the reference {name} is of {call}; with {ours_differ} the system is another, and nothing of the two "
                f"compares: set {wanted}, or {_REMEDY}"
            )

    def applies(self, context: Context) -> bool:
        """Where a reference is named, to weighted draws and to biased frames."""
        weighted = context.weighted or context.frames.bias is not None
        return weighted and context.settings.reference is not None

    def ask(self, context: Context) -> Finding:
        """Populations of the reference's regions, how the Ramachandran plot differs, and what is known of both.

        Of draws the latter is the divergence, weighted and as they are generated, from the reference, in its bins;
        beside it stands that of draws from the reference itself, as many as there are or as count. Biased frames are
        correlated, and their free energy is compared.
        """
        from bayescg.analysis.evaluation import evaluate
        from bayescg.analysis.resampled import average
        from bayescg.questions.references import load_reference

        settings, frames = context.settings, context.frames
        reference = load_reference(settings.reference)
        finding = Finding(truth_is="reference")
        names = [name for pair in reference.torsions.values() for name in pair]
        functions = dict(zip(names, context.functions(names), strict=True))
        angles = {name: evaluate(function, frames) for name, function in functions.items()}
        for name, region in reference.regions.items():
            if settings.regions.get(name, region) != region:
                continue  # the experiment calls another region so
            key = f"population_{re.sub(r'[^A-Za-z0-9]+', '_', name)}"
            if name not in settings.regions:
                inside = reference.contains(name, angles).astype(float)
                finding.add(key, average(inside, frames, settings.draws, context.seed, ""))
            finding.truth[key] = reference.populations[name][0]
        for a, b in settings.differences:
            if all(reference.regions.get(name) == settings.regions[name] for name in (a, b)):
                ratio = reference.populations[b][0] / reference.populations[a][0]
                finding.truth[difference_name(context, a, b)] = -math.log(ratio)
        if not context.weighted:
            self._biased_planes(finding, context, reference, angles)
            return finding
        for name in set(_OBSERVABLES) & set(context.observables):
            finding.truth[name] = reference.averages[name][0]
        self._planes(finding, context, reference, functions, angles)
        histograms = {name: reference_profile(settings.reference, name) for name in names}
        torsions = {name: histogram for name, histogram in histograms.items() if histogram is not None}
        finding.figures["predicted"] = Drawing(
            lambda: bcg.plot.predicted({name: context.landscape(name) for name in profiled(context)}, torsions),
            "Distributions of the reweighted draws, made without any simulation, with bands of the error of their "
            "number, and those of the reference. What the generator never visits is in no band.",
        )
        return finding

    def _planes(
        self,
        finding: Finding,
        context: Context,
        reference: Reference,
        functions: dict[str, Any],
        angles: dict[str, Any],
    ) -> None:
        """Divergence of the Ramachandran plot of each residue."""
        from bayescg.analysis.block_bootstrap import weights_of
        from bayescg.data import effective_frames

        frames, seed = context.frames, context.seed
        generated = context.fit.generate(min(len(frames), _MOST), draws=1, seed=seed)[0]
        weight = weights_of(frames)
        for key, of, plane, pair in residues(reference):
            raw = [functions[name](generated).double().cpu().numpy() for name in pair]
            reweighted = histogram_of(reference, [angles[name] for name in pair], weight)
            numbers = {
                "reference": context.settings.reference,
                "kl_generated": plane.divergence(histogram_of(reference, raw)),
                "kl_reweighted": plane.divergence(reweighted),
                "kl_floor_of_reference": plane.kl_floor,
                "bins": len(reference.edges) - 1,
                "generated": len(generated),
                "reweighted": len(frames),
                "frames_of_reference": reference.frames,
                "kl_exact_draws_generated": scatter(plane, len(generated), seed),
                "kl_exact_draws_reweighted": scatter(plane, int(effective_frames(weight)), seed),
            }
            finding.diagnostics[key] = numbers
            finding.in_words.add(key)
            finding.remark(
                TRUST,
                f"Ramachandran plot{of}, Kullback-Leibler divergence from {numbers['reference']} ({numbers['bins']} x "
                f"{numbers['bins']} bins): {numbers['kl_generated']:.2g} of {numbers['generated']:,} draws as "
                f"generated, where as many exact draws have {numbers['kl_exact_draws_generated']:.2g}; "
                f"{numbers['kl_reweighted']:.2g} of {numbers['reweighted']:,} reweighted, where as many as count have "
                f"{numbers['kl_exact_draws_reweighted']:.2g}. The reference's own error is "
                f"{numbers['kl_floor_of_reference']:.1g}.",
            )

    def _biased_planes(self, finding: Finding, context: Context, reference: Reference, angles: dict[str, Any]) -> None:
        """Free energy over the Ramachandran plane of each residue."""
        for key, of, plane, pair in residues(reference):
            counts = histogram_of(reference, [angles[name] for name in pair], context.frames.weights)
            numbers: dict[str, Any] = {"reference": context.settings.reference}
            numbers |= {f"rms_below_{low:g}_kT": free_energy_rms(plane.counts, counts, low) for low in _LOW}
            finding.diagnostics[key] = numbers
            finding.in_words.add(key)
            rms = " and ".join(f"{numbers[f'rms_below_{low:g}_kT']:.2g} kT below {low:g} kT" for low in _LOW)
            finding.remark(
                TRUST,
                f"Ramachandran plot{of}: the free energy differs from that of {numbers['reference']} by {rms} "
                f"(root mean square over cells of {360 * _MERGED / len(plane.counts):.3g} degrees).",
            )


def free_energy_rms(reference: np.ndarray, other: np.ndarray, low: float) -> float:
    """Root mean square difference of two free energies over cells where the first is below `low`, in kT.

    Parameters
    ----------
    reference, other : ndarray, shape (bins, bins)
        Histograms, of which 2 x 2 bins are a cell. Where the second one has an empty cell, the result is infinite.
    low : float
        kT above the minimum.

    Examples
    --------
    >>> counts = np.kron([[100.0, 50.0], [50.0, 1.0]], np.ones((2, 2)))
    >>> round(free_energy_rms(counts, counts ** 0.5, 1.0), 3)
    0.163
    """
    a, b = (h.reshape(len(h) // _MERGED, _MERGED, -1, _MERGED).sum((1, 3)) for h in (reference, other))
    within = a > a.max() * math.exp(-low)
    if not b[within].all():
        return math.inf
    difference = np.log(a[within]) - np.log(b[within])
    return float(np.sqrt(np.square(difference - difference.mean()).mean()))


def residues(reference: Reference) -> Iterator[tuple[str, str, Plane, list[str]]]:
    """The key of each residue's diagnostics, its name behind a word where there are several, its plane and torsions."""
    for residue, plane in reference.planes.items():
        alone = len(reference.planes) == 1
        key, of = ("ramachandran", "") if alone else (f"ramachandran_{residue}", f" of {residue}")
        yield key, of, plane, reference.torsions[residue]


def scatter(plane: Plane, count: int, seed: int, repeats: int = 5) -> float:
    """Divergence from a plane of so many independent draws from itself, on average."""
    random, shares = np.random.default_rng(seed), plane.probability
    drawn = random.multinomial(max(1, count), shares.ravel(), size=repeats).reshape(repeats, *shares.shape)
    return float(np.mean([plane.divergence(one) for one in drawn]))


def _called(text: str) -> tuple[str, dict[str, Any]]:
    """Name and arguments of a system from the call that makes it, with a remark behind."""
    call = ast.parse(text[: text.rindex(")") + 1], mode="eval").body
    assert isinstance(call, ast.Call)
    assert isinstance(call.func, ast.Name)
    positional = [ast.literal_eval(value) for value in call.args]
    named = {k.arg: ast.literal_eval(k.value) for k in call.keywords if k.arg is not None}
    bound = inspect.signature(getattr(bcg.systems, call.func.id)).bind_partial(*positional, **named)
    return call.func.id, dict(bound.arguments)


def histogram_of(reference: Reference, pair: Sequence[np.ndarray], weights: Any = None) -> np.ndarray:
    """Frames, or their weights, in the bins of a reference, from phi and psi in rad."""
    return np.histogram2d(*pair, bins=[reference.edges, reference.edges], weights=weights)[0]
