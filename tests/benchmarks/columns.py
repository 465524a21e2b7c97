"""The columns of the table: which peer, and how it runs."""

from collections.abc import Callable
from functools import partial
from importlib import import_module

from tests.benchmarks.problems import Problem

COLUMNS = {
    "PyTorch": ("hand", {}),
    "PyTorch compiled": ("hand", {"compiled": True}),
    "Pyro": ("svi", {}),
    "Pyro unvalidated": ("svi", {"validate": False}),
    "NumPyro": ("numpyro_", {}),
    "NumPyro loop": ("numpyro_", {"loop": True}),
    "bayescg trace": ("bayescg_", {"compile": "trace"}),
    "bayescg inductor": ("bayescg_", {"compile": "inductor"}),
}
"""Module and arguments of each; the first is what the others are compared with."""


def load(column: str) -> Callable[[Problem, int, str], Callable[[int], None]]:
    """Maker of a column: given a problem, a batch and a device, the function that takes so many training steps."""
    module, options = COLUMNS[column]
    return partial(import_module(f"tests.benchmarks.{module}").steps, **options)
