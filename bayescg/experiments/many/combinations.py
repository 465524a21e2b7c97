"""Seeds and values on the command line, and every combination of them."""

import itertools
import re
from collections.abc import Sequence
from typing import Any

from bayescg.errors import ConfigError
from bayescg.experiments.settings import typed

__all__ = ["grid"]


def grid(seeds: str, changes: Sequence[str]) -> list[dict[str, Any]]:
    """Settings of every run: each seed with each combination of the changes' values.

    Parameters
    ----------
    seeds : str
        ``first:end``, the end left out, or seeds with commas between them.
    changes : sequence of str
        ``section.key=a,b,c`` with TOML values; a bare word is a string, and a value that is a list keeps its brackets.

    Raises
    ------
    ConfigError
        Seeds or a change that cannot be read.

    Examples
    --------
    >>> grid("0:2", ["fit.uncertainty=laplace,bootstrap"])[1:3]
    [{'seed': 1, 'fit.uncertainty': 'laplace'}, {'seed': 0, 'fit.uncertainty': 'bootstrap'}]
    >>> [values["model.hidden"] for values in grid("7", ["model.hidden=[16],[32, 32]"])]
    [[16], [32, 32]]
    """
    values: dict[str, list[Any]] = {}
    for text in changes:
        key, equals, after = text.partition("=")
        if not equals or not key.strip() or not after.strip():
            raise ConfigError(f"--set {text}: write section.key=a,b,c, for instance --set fit.steps=1000,5000")
        if key.strip() in values:
            raise ConfigError(f"--set {text}: {key.strip()} is given twice; write its values with commas between them")
        values[key.strip()] = [typed(part) for part in _parts(after)]
    combinations = itertools.product(*values.values())
    changed = [dict(zip(values, combination, strict=True)) for combination in combinations]
    return [{"seed": seed, **settings} for settings in changed for seed in _seeds(seeds)]


def _seeds(text: str) -> list[int]:
    if ends := re.fullmatch(r"(\d+):(\d+)", text.strip()):
        seeds = list(range(int(ends[1]), int(ends[2])))
    elif re.fullmatch(r"\d+(,\d+)*", text.strip()):
        seeds = [int(part) for part in text.split(",")]
    else:
        raise ConfigError(f"--seeds {text}: write 0:20 for the seeds 0 to 19, or 3,7,11")
    if not seeds:
        raise ConfigError(f"--seeds {text}: there is no seed in it; the second number is one beyond the last seed")
    return seeds


def _parts(text: str) -> list[str]:
    """Split at commas that are in no brackets and no quotes."""
    parts, depth, quote = [""], 0, ""
    for c in text:
        if quote:
            quote = "" if c == quote else quote
        elif c in "\"'":
            quote = c
        else:
            depth += (c in "[{") - (c in "]}")
        if c == "," and not depth and not quote:
            parts.append("")
        else:
            parts[-1] += c
    return parts
