"""Fits read back by a process that has seen nothing of them but their files."""

from __future__ import annotations

import importlib
import inspect
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from bayescg import checkpoint
from bayescg.contract.model_files import models_in
from bayescg.contract.outcomes import Fault
from bayescg.inference.fitted import Fit
from bayescg.modelling.model import HasCV, Model
from bayescg.modelling.registry import find_model, model_names

__all__ = ["check_fresh"]


def check_fresh(fits: dict[str, Fit], x: Tensor, folder: str) -> str:
    """Load all fits of a model, each saved in a folder of its name, in one new process, and compare what they say.

    Parameters
    ----------
    fits : dict of str to Fit
    x : Tensor
        Positions to ask for the CVs of.
    folder : str

    Raises
    ------
    Fault
        They cannot be loaded, or say something else there.
    """
    model_class = type(next(iter(fits.values())).model)
    place = _place(model_class)
    if place is None:
        return "not loaded by another process: the class is in no file"
    np.save(Path(folder) / "x.npy", x.numpy())
    command = [sys.executable, "-m", "bayescg.contract.fresh_process", folder, *place, *fits]
    finished = subprocess.run(command, capture_output=True, text=True, check=False)
    if finished.returncode:
        raise Fault(f"saved fits cannot be loaded by a new process: {finished.stderr.strip().splitlines()[-1]}")
    spoken = json.loads(finished.stdout.splitlines()[-1])
    for name, fit in fits.items():
        for what, values in _said(fit, x).items():
            if not np.allclose(values, spoken[name][what], rtol=1e-4, atol=1e-5, equal_nan=True):
                raise Fault(f"uncertainty={name!r}: {what} are not the same where a new process has loaded the fit")
    return "loaded and asked by a new process"


def _said(fit: Fit, x: Tensor) -> dict[str, Any]:
    values = {f"parameters {k}": v.double().tolist() for k, v in fit.parameters(2).items()}
    if isinstance(fit.model, HasCV):
        values["CVs"] = fit.cv(x).mean.double().tolist()
    if fit.generates:
        values["generated frames"] = fit.generated_inputs(3, draws=2).double().tolist()
    return values


def _place(model_class: type[Model]) -> tuple[str, str] | None:
    """Name of a class, and where a new process finds it: nowhere where it is registered, a module, or a file."""
    name = model_class.__name__
    if name in model_names() and find_model(name) is model_class:
        return name, ""
    if model_class.__qualname__ != name:
        return None
    module = model_class.__module__
    if module in sys.modules and module != "__main__":
        return name, module
    functions = [getattr(value, "__func__", value) for value in vars(model_class).values()]
    files = [f.__code__.co_filename for f in functions if inspect.isfunction(f)]
    return (name, files[0]) if files and files[0].endswith(".py") else None


def _main(folder: str, name: str, place: str, *choices: str) -> None:
    model_class = None
    if place.endswith(".py"):
        model_class = next(c for c in models_in(place) if c.__name__ == name)
    elif place:
        model_class = getattr(importlib.import_module(place), name)
    spoken, x = {}, torch.from_numpy(np.load(Path(folder) / "x.npy"))
    for choice in choices:
        directory = Path(folder) / choice
        model = None
        if model_class is not None:
            model = model_class.from_config(checkpoint.read(directory / "fit.json")[1]["config"])
        spoken[choice] = _said(Fit.load(directory, model), x)
    print(json.dumps(spoken))


if __name__ == "__main__":
    _main(*sys.argv[1:])
