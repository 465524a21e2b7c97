"""What in a program is not a fixed sequence of tensor operations, and the line where it stands."""

from __future__ import annotations

import linecache
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils import _pytree as pytree
from torch.utils._python_dispatch import TorchDispatchMode

__all__ = ["FixedShapes", "NoLists", "Unrecordable", "at", "explained", "first_difference", "run_unchanging"]


class Unrecordable(Exception):
    """A program whose recording cannot stand for it; says why, for people."""


class NoLists(TorchFunctionMode):
    """Inside, a tensor's values cannot be read as Python numbers past the recording."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is Tensor.tolist:
            raise Unrecordable("the values of a tensor become Python numbers")
        return func(*args, **(kwargs or {}))


class FixedShapes(TorchDispatchMode):
    """Inside, no shape may depend on values: picking by a mask is refused, and whatever else counts."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        by_place = func is torch.ops.aten.index.Tensor and not any(
            torch.is_tensor(i) and i.dtype in (torch.bool, torch.uint8) for i in args[1]
        )
        if torch.Tag.dynamic_output_shape in func.tags and not by_place:
            raise Unrecordable("a shape depends on the values of a tensor; torch.where and weights of zero keep it")
        return func(*args, **(kwargs or {}))


def run_unchanging(program: nn.Module, run: Callable[[], Any]) -> Any:
    """What `run` returns, if the Python values that the modules of `program` hold are the same afterwards.

    Raises
    ------
    Unrecordable
        One has changed (a count of the runs, say); names it and the line.
    """
    before = _values(program)
    result = run()
    changed = [key for key, value in _values(program).items() if before.get(key) != value]
    if changed:
        module, name = changed[0]
        where = _line_of_change(run, lambda: _described(vars(module).get(name)))
        raise Unrecordable(at(where, f"{type(module).__name__}.{name} changes in a run; only a buffer may"))
    return result


_OF_TORCH = frozenset(vars(nn.Module()))


def _values(program: nn.Module) -> dict[tuple[nn.Module, str], str]:
    own = ((m, k, _described(v)) for m in program.modules() for k, v in vars(m).items() if k not in _OF_TORCH)
    return {(module, name): value for module, name, value in own if value}


def _described(value: Any, depth: int = 3) -> str:
    """What is compared of a value: numbers and text, and how many things a container holds, with the first of them."""
    if isinstance(value, list | tuple | dict | set):
        held = list(value.values() if isinstance(value, dict) else value)[: 100 if depth else 0]
        return f"{type(value).__name__} of {len(value)}: {', '.join(_described(v, depth - 1) for v in held)}"
    return repr(value) if value is None or isinstance(value, bool | int | float | str) else ""


def _line_of_change(run: Callable[[], Any], read: Callable[[], str]) -> str:
    """The line of the user's code that changes a value, found by running once more."""
    last, value, changing_line = "", read(), ""

    def line(frame: FrameType, event: str, _: Any) -> Any:  # called before a line is executed
        nonlocal last, value, changing_line
        now = read()
        if now != value and not changing_line:
            changing_line = last
        value, last = now, _place(frame.f_code.co_filename, frame.f_lineno, frame.f_code.co_name)
        return line

    def call(frame: FrameType, event: str, arg: Any) -> Any:
        return None if _of_a_library(frame.f_code.co_filename) else line(frame, event, arg)

    before = sys.gettrace()
    sys.settrace(call)
    try:
        run()
    finally:
        sys.settrace(before)
    return changing_line


def first_difference(run: Callable[..., Any], first: tuple[Any, ...], second: tuple[Any, ...]) -> str:
    """Line of the first call of torch in which two runs differ by numbers or shapes, or the empty string."""
    journals = []
    for arguments in (first, second):
        with _Journal() as journal:
            run(*arguments)
        journals.append(journal.entries)
    for (ours, where), (theirs, _) in zip(*journals, strict=False):
        if ours != theirs:
            return where
    return ""


class _Journal(TorchFunctionMode):
    """Every call of torch inside: its numbers and shapes, and the user's line that it comes from."""

    def __init__(self) -> None:
        super().__init__()
        self.entries: list[tuple[tuple[Any, ...], str]] = []

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        leaves = pytree.tree_leaves((args, kwargs))
        numbers = tuple(
            tuple(v.shape) if isinstance(v, Tensor) else v
            for v in leaves
            if isinstance(v, Tensor | bool | int | float | str)
        )
        frame: FrameType | None = sys._getframe(1)
        while frame is not None and _of_a_library(frame.f_code.co_filename):
            frame = frame.f_back
        where = "" if frame is None else _place(frame.f_code.co_filename, frame.f_lineno, frame.f_code.co_name)
        self.entries.append(((func, numbers), where))
        return func(*args, **(kwargs or {}))


def explained(error: Exception) -> str:
    """First line of an error, and the line of the user's program that led to it."""
    first = (str(error).strip().splitlines() or [""])[0]
    if not isinstance(error, Unrecordable):
        first = f"{type(error).__name__}: {first}"
    frames = [f for f in traceback.extract_tb(error.__traceback__) if not _of_a_library(f.filename)]
    return at(_place(frames[-1].filename, frames[-1].lineno or 0, frames[-1].name) if frames else "", first)


def at(place: str, what: str) -> str:
    """What is wrong, at a place where one is known."""
    return f"{place} ({what})" if place else what


def _place(filename: str, line: int, name: str) -> str:
    return f"{Path(filename).name}, line {line}, in {name}: `{linecache.getline(filename, line).strip()}`"


_PACKAGES = Path(str(torch.__file__)).parents[1]
_LIBRARIES = (
    *(str(_PACKAGES / name) for name in ("torch", "pyro", "zuko")),
    *(str(Path(__file__).parents[1] / room) for room in ("inference", "modelling", "recording", "sampling")),
)
_STANDARD = str(Path(str(linecache.__file__)).parent)


def _of_a_library(filename: str) -> bool:
    """Whether a file is none of the user's; installed packages may lie below Python's own library."""
    standard = filename.startswith(_STANDARD) and "-packages" not in filename
    return standard or filename.startswith((*_LIBRARIES, "<"))
