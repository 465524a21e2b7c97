"""An experiment with many seeds and settings: what one run says of each quantity, and whether the seeds agree."""

from __future__ import annotations

import json
import math
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from textwrap import shorten
from typing import Any

import numpy as np
from scipy.stats import chi2

from bayescg.checkpoint import write_file
from bayescg.report import rows

__all__ = ["SCHEMA", "agreement", "collect", "common_warnings", "disagreements", "table", "write"]

SCHEMA = 1
"""Version of the layout of ``sweep.json``."""

_NUMBER = re.compile(r"-?\d[\d,]*(\.\d+)?(e[-+]?\d+)?")
_MOST, _LONGEST = 3, 200


def collect(settings: Sequence[Mapping[str, Any]], results: Sequence[Mapping[str, Any] | None]) -> list[dict[str, Any]]:
    """Runs that differ in their seeds only, together.

    Parameters
    ----------
    settings : sequence of mapping
        As :func:`bayescg.experiments.many.combinations.grid` gives them.
    results : sequence of mapping or None
        Summaries; None where the run failed.

    Returns
    -------
    list of dict
        ``settings`` without the seed, ``seeds``, ``quantities`` (see `agreement`), ``warnings``, how many runs have
        some, and ``common_warnings``, the words of the most frequent ones.
    """
    groups: dict[str, tuple[dict[str, Any], list[tuple[int, Mapping[str, Any]]]]] = {}
    for changes, result in zip(settings, results, strict=True):
        rest = {key: value for key, value in changes.items() if key != "seed"}
        members = groups.setdefault(json.dumps(rest), (rest, []))[1]
        if result is not None:
            members.append((changes["seed"], result))
    return [
        {
            "settings": rest,
            "seeds": [seed for seed, _ in members],
            "quantities": {
                name: agreement([r["quantities"][name] for _, r in members if name in r["quantities"]])
                for name in dict.fromkeys(name for _, r in members for name in r["quantities"])
            },
            "warnings": sum(bool(r["diagnostics"]["warnings"]) for _, r in members),
            "common_warnings": common_warnings([r["diagnostics"]["warnings"] for _, r in members]),
        }
        for rest, members in groups.values()
    ]


def common_warnings(warned: Sequence[Sequence[str]]) -> list[str]:
    """Of the warnings of each run, the three that most runs have, with how many; those that differ in numbers are one.

    Examples
    --------
    >>> common_warnings([["only 3 blocks", "ESS .1"], ["only 5 blocks"], []])
    ['2 of 3 runs: only 3 blocks', '1 of 3 runs: ESS .1']
    """
    runs, words = Counter(), {}
    for texts in warned:
        kinds = {_NUMBER.sub("#", text): text for text in reversed(texts)}
        runs.update(kinds.keys())
        words = kinds | words
    return [
        f"{count} of {len(warned)} runs: {shorten(words[kind], _LONGEST, placeholder=' …')}"
        for kind, count in runs.most_common(_MOST)
    ]


def agreement(runs: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    r"""What one run says of a quantity, on average, and whether runs differ by more than their error bars allow.

    With means :math:`m_i` and quoted standard deviations :math:`s_i`, :math:`\chi^2 = \sum_i (m_i - \bar m)^2 / s_i^2`
    about the weighted mean, over the runs that have an interval. Independent runs with right error bars give the number
    of runs less one, on average; `p` is the chance of more. Runs on the same frames share their sampling error and
    should give less.

    Parameters
    ----------
    runs : sequence of mapping
        The quantity in each summary: unit, mean, sd, ci90, truth.

    Returns
    -------
    dict
        ``unit``; ``mean``; ``sd``, the root mean square of the quoted ones; ``ci90``, the average ends; ``intervals``,
        how many runs have one; ``spread``, the standard deviation between runs; ``chi2``, ``dof``, ``p``; ``truth``
        and ``covered``, how many intervals hold it.

    Examples
    --------
    >>> runs = [{"unit": "kT", "mean": m, "sd": 0.1, "ci90": [m - 0.16, m + 0.16], "truth": 1.0} for m in (0.9, 1.2)]
    >>> answer = agreement(runs)
    >>> round(answer["chi2"], 6), answer["dof"], answer["covered"]
    (4.5, 1, 1)
    """
    means = np.array([r["mean"] for r in runs if r["mean"] is not None])
    certain = [r for r in runs if r["ci90"] is not None]
    answer: dict[str, Any] = {
        "unit": runs[0]["unit"],
        "mean": float(means.mean()) if len(means) else None,
        "sd": math.sqrt(np.mean([r["sd"] ** 2 for r in certain])) if certain else None,
        "ci90": [float(np.mean([r["ci90"][end] for r in certain])) for end in (0, 1)] if certain else None,
        "intervals": len(certain),
        "spread": float(means.std(ddof=1)) if len(means) > 1 else None,
        "chi2": None, "dof": None, "p": None,
        "truth": runs[0]["truth"],
        "covered": None,
    }  # fmt: skip
    m, s = (np.array([r[key] for r in certain], dtype=float) for key in ("mean", "sd"))
    if len(certain) > 1 and (s > 0).all():
        deviation = m - np.average(m, weights=s**-2)
        total = float(np.sum((deviation / s) ** 2))
        answer |= {"chi2": total, "dof": len(m) - 1, "p": float(chi2.sf(total, len(m) - 1))}
    if answer["truth"] is not None:
        answer["covered"] = sum(r["ci90"][0] <= r["truth"] <= r["ci90"][1] for r in certain)
    return answer


def table(quantities: Mapping[str, Mapping[str, Any]]) -> tuple[list[str], list[list[str]]]:
    """Titles and rows, as text, of the quantities of a group; ``of seeds`` is the sd between runs.

    ``held`` counts intervals that hold the truth, of those that there are.

    Examples
    --------
    >>> runs = [{"unit": "kT", "mean": m, "sd": 0.1, "ci90": [m - 0.16, m + 0.16], "truth": 1.0} for m in (0.9, 1.2)]
    >>> titles, rows = table({"f": agreement(runs)})
    >>> dict(zip(titles, rows[0]))
    {'quantity': 'f', 'mean': '1.05', 'sd': '0.10', '90 % interval': '0.89 to 1.21', 'of seeds': '0.21', 'p': '0.034',
     'held': '1 of 2', 'unit': 'kT'}
    """
    titles = ["quantity", "mean", "sd", "90 % interval", "of seeds", "p", "held", "unit"]
    lines = []
    for name, mean, sd, interval, unit in rows(quantities):
        q = quantities[name]
        spread = "" if q["spread"] is None else f"{q['spread']:.2g}"
        p = "" if q["p"] is None else f"{q['p']:{'.2g' if q['p'] > 1e-3 else '.0e'}}"
        held = "" if q["covered"] is None else f"{q['covered']} of {q['intervals']}"
        lines.append([name, mean, sd, interval, spread, p, held, unit])
    shown = [i for i, title in enumerate(titles) if title != "held" or any(line[i] for line in lines)]
    return [titles[i] for i in shown], [[line[i] for i in shown] for line in lines]


def disagreements(quantities: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """Quantities whose runs lie further apart than chance gives one table in a hundred, were all error bars right.

    Examples
    --------
    >>> runs = [{"unit": "", "mean": m, "sd": 0.1, "ci90": [m - 0.16, m + 0.16], "truth": None} for m in (0.5, 1.2)]
    >>> disagreements({"f": agreement(runs)})
    ['f']
    """
    tested = {name: q["p"] for name, q in quantities.items() if q["p"] is not None}
    return [name for name, p in tested.items() if p < 0.01 / len(tested)]


def write(
    path: Path,
    experiment: str,
    settings: Sequence[Mapping[str, Any]],
    results: Sequence[Mapping[str, Any] | None],
    failures: Sequence[Mapping[str, Any]],
) -> list[dict[str, Any]]:
    """Write ``sweep.json``, whole or not at all, and return the groups of `collect`."""
    groups = collect(settings, results)
    runs = [
        {"settings": dict(changes), "quantities": result["quantities"]}
        for changes, result in zip(settings, results, strict=True)
        if result is not None
    ]
    body = {"schema": SCHEMA, "experiment": experiment, "groups": groups, "runs": runs, "failed": list(failures)}
    write_file(path / "sweep.json", json.dumps(body, indent=1, allow_nan=False))
    return groups
