"""Fits on disk: what `Fit.save` writes, and whether a model given to `Fit.load` is the one that was fitted."""

from __future__ import annotations

import json
import math
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from bayescg import checkpoint
from bayescg.arguments import check_paths
from bayescg.errors import CheckpointError
from bayescg.inference.trained import TrainedModel
from bayescg.inference.uncertainty import Posterior
from bayescg.modelling.model import Model
from bayescg.modelling.registry import find_model, model_names
from bayescg.modelling.system_model import SystemModel
from bayescg.recording.functional import Params

__all__ = ["read_fit", "write_fit"]

_PROBES = 8


def write_fit(directory: Path, fit: TrainedModel, record: dict[str, Any]) -> None:
    """Write a fit and the record of its training.

    Of a model that queries a system, a few configurations are written with their log densities.

    Raises
    ------
    OutputError
        The directory cannot be written.
    """
    tensors = {f"point/{k}": v for k, v in fit.weights.point.items()}
    tensors |= {f"weights/{k}": v for k, v in fit.weights.tensors.items()}
    if fit.gauge is not None:
        tensors["gauge"] = fit.gauge
    if isinstance(fit.model, SystemModel) and not fit.model.needs_frames:
        x = fit.model.positions(fit.generated_inputs(_PROBES, draws=1)[0]).flatten(1)
        tensors |= {"probe/x": x, "probe/log_prob": _log_prob(fit.model, x)}
    meta = {
        "model": type(fit.model).__name__, "config": fit.model.config(), "uncertainty": fit.weights.kind,
        "names": list(fit.weights.names), **record, "bayescg": version("bayescg"),
    }  # fmt: skip
    checkpoint.write(directory, "fit", tensors, meta)


def read_fit(directory: str | Path, model: Model | None) -> tuple[Model, Posterior, dict[str, Any], Tensor | None]:
    """Model with its trained values, posterior, everything else, and gauge.

    Raises
    ------
    ConfigError
        `directory` is no path.
    CheckpointError
        The directory holds no fit, a damaged one, or one of another model or system.
    """
    check_paths(directory=directory)
    tensors, meta = checkpoint.read(Path(directory) / "fit.json")
    if model is None and meta["model"] not in model_names():
        raise CheckpointError(
            f"{directory} holds a fit of {meta['model']}, which no installed package registers: give "
            f"Fit.load(directory, model=...) a {meta['model']} of the configuration {json.dumps(meta['config'])}"
        )
    if model is None:
        try:
            model = find_model(meta["model"]).from_config(meta["config"])
        except TypeError as error:  # its class takes other arguments now
            raise CheckpointError(
                f"{directory} holds a {meta['model']} as bayescg {meta['bayescg']} made it, which this one cannot make "
                f"({error}): fit it again, or read it with that version"
            ) from error
    elif type(model).__name__ != meta["model"]:
        raise CheckpointError(f"{directory} holds a fit of {meta['model']}, not of {type(model).__name__}")
    else:
        mine = json.loads(json.dumps(model.config()))
        other = [k for k, v in meta["config"].items() if _differs(mine.get(k), v)]
        if other:
            raise CheckpointError(
                f"{directory} does not fit the model {meta['model']}: the fit is of another {', '.join(other)}; make "
                "the model as it was for the fit"
            )
        model = model.completed(meta["config"])

    def part(prefix: str) -> Params:
        return {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}

    point = part("point/")
    model.to(next(v.dtype for k, v in point.items() if v.is_floating_point()))
    try:
        rebuilt = dict(model.named_buffers()).keys() - model.state_dict().keys()  # from the configuration
        model.load_state_dict({k: v for k, v in point.items() if k not in rebuilt}, strict=True)
    except RuntimeError as error:
        raise CheckpointError(f"{directory} does not fit the model {meta['model']}: {error}") from error
    _check_system(directory, model, part("probe/"))
    weights = Posterior(meta["uncertainty"], point, part("weights/"), tuple(meta["names"]))
    return model, weights, meta, tensors.get("gauge")


def _check_system(directory: str | Path, model: Model, probe: Params) -> None:
    """Refuse a system that gives configurations of the fit other densities, rounding apart."""
    if not probe or not isinstance(model, SystemModel):
        return
    x, then = probe["x"], probe["log_prob"]
    now = _log_prob(model, x) if x.shape[-1] == model.system.cartesian.dim else None
    if now is None or not torch.allclose(now, then, rtol=1e-3, atol=1e-3, equal_nan=True):
        difference = (
            "has another number of coordinates"
            if now is None
            else (f"gives configurations of the fit energies of {_listed(-now)} kT, which were {_listed(-then)}")
        )
        raise CheckpointError(
            f"{directory} holds a fit of another system: this one, {model.system.cartesian!r}, {difference}; make the "
            "model with the system, and the temperature, of the fit"
        )


def _log_prob(model: SystemModel, x: Tensor) -> Tensor:
    with torch.no_grad():
        return model.system.cartesian.log_prob(x)


def _listed(values: Tensor) -> str:
    return ", ".join(f"{float(v):.4g}" for v in values[:3])


def _differs(mine: Any, theirs: Any) -> bool:
    """Whether two values of a configuration, rounding apart, differ; None is one that is not known yet."""
    if mine is None or theirs is None:
        return False
    if isinstance(mine, dict) and isinstance(theirs, dict):
        return any(_differs(mine.get(k), theirs.get(k)) for k in mine.keys() | theirs.keys())
    if isinstance(mine, list) and isinstance(theirs, list):
        return len(mine) != len(theirs) or any(map(_differs, mine, theirs))
    if isinstance(mine, int | float) and isinstance(theirs, int | float):
        return not math.isclose(mine, theirs, rel_tol=1e-4, abs_tol=1e-6)
    return mine != theirs
