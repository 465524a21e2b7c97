"""Doors through which fits come: arguments of models and of `fit`, experiment files, fits and runs on disk."""

import inspect
import shutil
import tempfile
import tomllib
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import torch
from hypothesis import strategies as st

import bayescg as bcg
from bayescg.experiments import build, catalogue
from bayescg.experiments.settings import toml_value
from bayescg.modelling.registry import find_model, model_names
from tests.fire.odd import ODD, damaged

__all__ = ["checkpoints", "experiment_files", "models", "run_folders", "saved_fits"]

PLAIN: dict[str, Any] = {"uncertainty": "none", "compile": "off", "progress": False}


@cache
def _example(name: str) -> tuple[Any, Any]:
    """A model of this name and what it learns from."""
    return find_model(name).example()[:2]


def models(draw: Callable) -> None:
    """A model with an argument or two that are odd, and a step of a fit, whose arguments may be odd too."""
    name = draw(st.sampled_from(model_names()))
    kind = find_model(name)
    example, frames = _example(name)
    names = [key for key in inspect.signature(kind.__init__).parameters if key != "self"]
    arguments = {key: getattr(example, key) for key in names if not callable(getattr(example, key, len))}
    of_fit = draw(st.integers(0, 3)) == 0
    if not of_fit:
        arguments |= {key: draw(ODD) for key in draw(st.lists(st.sampled_from(names), min_size=1, max_size=2))}
    model = kind(**arguments)
    settings: dict[str, Any] = {**PLAIN, "steps": 1, "batch_size": 8}
    if of_fit:
        keys = [k for k in inspect.signature(bcg.fit).parameters if k not in ("model", "frames", "run_dir", "compile")]
        small = ODD.filter(lambda value: not (isinstance(value, int) and value > 100))
        settings |= {key: draw(small) for key in draw(st.lists(st.sampled_from(keys), min_size=1, max_size=2))}
    fit = bcg.fit(model, frames, **settings)
    assert all(torch.isfinite(p).all() for p in fit.model.parameters())


VALUES = (
    *(-1, 0, 1.5, 10**30, float("nan"), float("inf"), "", "phi", True, [], {}, [1], [["a"]], {"a": 1}, "auto", "x1"),
    *(["left", "left"], "drop", "drop", "rename", "section", "deeper", 1e-300, -0.0, [None], "nan", [[1.0, -1.0]]),
)


def experiment_files(draw: Callable) -> None:
    """A shipped experiment of which keys are taken away, misspelt, or given other values; or its bytes are altered."""
    name = draw(st.sampled_from(catalogue.names()))
    text = catalogue.find_experiment(name).read_text("utf-8")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "x.toml")
        if draw(st.integers(0, 3)) == 0:
            path.write_bytes(damaged(draw, text.encode()))
        else:
            raw = tomllib.loads(text)
            for _ in range(draw(st.integers(1, 2))):
                _change(draw, raw)
            path.write_text("\n".join(f"{k} = {toml_value(v)}" for k, v in sorted(raw.items())), encoding="utf-8")
        changes = draw(
            st.lists(
                st.sampled_from(["fit.steps=5", "fit.steps=x", "fit=3", "a", "=", "model.a.b=1", "run.seed=-1", "x="]),
                max_size=1,
            )
        )
        build.check(bcg.experiments.load(path, quick=draw(st.booleans()), changes=changes))


def _change(draw: Callable, raw: dict[str, Any]) -> None:
    """Another value somewhere, deep or shallow, or a key that is gone or misspelt."""
    if not raw:
        return
    table, key = raw, draw(st.sampled_from(sorted(raw)))
    while isinstance(table[key], dict) and table[key] and draw(st.integers(0, 4)) > 0:
        table = table[key]
        key = draw(st.sampled_from(sorted(table)))
    value = draw(st.sampled_from(VALUES) | st.text(max_size=3) | st.integers() | st.floats())
    if value in ("drop", "section"):
        table.pop(key)
    elif value == "rename":
        table[key + "s"] = table.pop(key)
    elif value == "deeper":
        table[key] = {key: table[key]}
    else:
        table[key] = [0 if item is None else item for item in value] if isinstance(value, list) else value


def _damage(draw: Callable, folder: Path, paths: list[Path]) -> list[Path]:
    """Cut, alter or remove one file or two."""
    hit = draw(st.lists(st.sampled_from(sorted(paths)), min_size=1, max_size=2, unique=True))
    for path in hit:
        if draw(st.integers(0, 9)) == 0:
            path.unlink()
        else:
            path.write_bytes(damaged(draw, path.read_bytes()))
    return [path.relative_to(folder) for path in hit]


@cache
def _scratch() -> Path:
    return Path(tempfile.mkdtemp(prefix="bayescg-fire-"))


@cache
def _saved(name: str, uncertainty: str) -> tuple[Path, torch.Tensor, torch.Tensor]:
    """A fit in its folder, frames, and their CVs."""
    model, frames = _example(name)
    settings = {**PLAIN, "uncertainty": uncertainty, "members": 2}
    fit = bcg.fit(model, frames, steps=3, **settings)
    folder = _scratch() / f"{name}-{uncertainty}"
    fit.save(folder)
    x = torch.as_tensor(frames.positions)
    return folder, x, fit.cv(x).mean


def saved_fits(draw: Callable) -> None:
    """`Fit.load` of a folder one of whose files is cut or altered."""
    fits = [("PredictiveCV", "none"), ("PredictiveCV", "laplace"), ("Autoencoder", "ensemble")]
    folder, x, z = _saved(*draw(st.sampled_from(fits)))
    with tempfile.TemporaryDirectory() as scratch:
        copy = Path(scratch, "fit")
        shutil.copytree(folder, copy)
        _damage(draw, copy, list(copy.iterdir()))
        assert torch.equal(bcg.Fit.load(copy).cv(x).mean, z)


def _fit_in(folder: Path) -> bcg.Fit:
    model, frames = _example("PredictiveCV")
    return bcg.fit(model, frames, steps=8, run_dir=folder, checkpoint_every=3, **PLAIN)


@cache
def _fit_on_disk() -> tuple[Path, bcg.Fit]:
    """The checkpoints of a fit, the newest and the one before, and how it ended."""
    folder = _scratch() / "run"
    return folder, _fit_in(folder)


def checkpoints(draw: Callable) -> None:
    """`fit` goes on from checkpoints of which one or two files are cut, altered or gone."""
    folder, whole = _fit_on_disk()
    with tempfile.TemporaryDirectory() as scratch:
        copy = Path(scratch, "run")
        shutil.copytree(folder, copy)
        if draw(st.booleans()):  # it was stopped after the one before the newest
            for path in (copy / "checkpoint").glob("*8.*"):
                path.unlink()
        _damage(draw, copy, [path for path in copy.rglob("*") if path.is_file()])
        again = _fit_in(copy)
        assert all(torch.equal(a, b) for a, b in zip(again.model.parameters(), whole.model.parameters(), strict=True))


TINY = ["fit.steps=5", "fit.batch_size=50", "model.hidden=[4]", "analysis.samples=400", "analysis.draws=10"]


@cache
def _run_on_disk() -> tuple[Path, dict[str, Any]]:
    """A finished run in its folder, and its quantities."""
    folder = _scratch() / "double-well"
    experiment = bcg.experiments.load("double-well", quick=True, changes=TINY)
    return folder, bcg.experiments.run(experiment, folder, _silent)["quantities"]


def _silent(_: str) -> None:
    """For `say`."""


def run_folders(draw: Callable) -> None:
    """`resume` and `report` of a run, finished or not, of which one or two files are cut, altered or gone."""
    folder, quantities = _run_on_disk()
    with tempfile.TemporaryDirectory() as scratch:
        copy = Path(scratch, "run")
        shutil.copytree(folder, copy)
        finished = draw(st.integers(0, 4)) > 0
        if not finished:
            (copy / "summary.json").unlink()
        hit = _damage(draw, copy, [path for path in copy.rglob("*") if path.is_file() and path.name != ".lock"])
        results = bcg.experiments.resume(copy, _silent)
        if not {"config.toml", "summary.json"} & {path.name for path in hit}:  # they say themselves what is right
            assert results["quantities"] == quantities
        if finished and draw(st.integers(0, 3)) == 0:
            bcg.experiments.report(copy, _silent)
