"""What comes to a door that is nearly right, or not at all; and files that are cut and altered."""

from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from hypothesis import strategies as st

import bayescg as bcg

__all__ = ["NUMBERS", "ODD", "damaged", "molecule"]

NUMBERS = st.sampled_from([
    -1, 0, 1, 2, 3, 0.5, 1.5, -0.1, 1e-300, 1e300, float("nan"), float("inf"), True, np.int64(2), np.float32(0.5),
    10**30, 2 + 1j, np.array(2), torch.tensor(0.5),
])  # fmt: skip
ODD = NUMBERS | st.integers(-5, 40) | st.floats() | st.text(max_size=3) | st.sampled_from([
    None, "", "phi", "A", "auto", "none", "1", "nan", b"x", [], (), {}, set(), [0], (1, 2), (64, 64), ["phi"], {"a": 1},
    {1: 2}, object(), np.ones(2), np.zeros(0), np.array([np.nan]), np.array(["a"]), np.array([None, 1]), torch.ones(2),
    torch.zeros(0), torch.ones(2, 2, requires_grad=True), [[0, 1]], [None], [[]], [1, "a"], range(3), slice(None), len,
    str, lambda x: x, Path("x"), np.dtype("f4"), torch.float64, 1e-30, "cuda", "cpu",
])  # fmt: skip


@cache
def molecule() -> Any:
    """A system of 22 atoms."""
    return bcg.systems.alanine_dipeptide()


def damaged(draw: Callable, content: bytes) -> bytes:
    """Cut, altered, doubled or emptied; or as it is."""
    how = draw(st.sampled_from(["whole", "cut", "altered", "altered", "inserted", "twice", "empty", "zeros"]))
    place = draw(st.integers(0, max(0, len(content) - 1)))
    other = draw(st.binary(min_size=1, max_size=8))
    return {
        "whole": content, "cut": content[:place], "altered": content[:place] + other + content[place + len(other) :],
        "inserted": content[:place] + other + content[place:], "twice": content + content, "empty": b"",
        "zeros": content[:place] + bytes(len(content) - place),
    }[how]  # fmt: skip
