"""The doors, and what comes to them: what is right, what is nearly right, and what is neither."""

import inspect
import shutil
import tempfile
import tomllib
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from hypothesis import strategies as st

import bayescg as bcg
from bayescg.experiments import build, catalogue
from bayescg.experiments.settings import toml_value
from bayescg.modelling.registry import find_model, model_names

__all__ = ["DOORS"]

NUMBERS = st.sampled_from(
    [-1, 0, 1, 2, 3, 0.5, 1.5, -0.1, 1e-300, 1e300, float("nan"), float("inf"), True, np.int64(2), np.float32(0.5)]
)
ODD = NUMBERS | st.sampled_from(
    [
        None,
        "",
        "phi",
        "A",
        "auto",
        b"x",
        [],
        (),
        {},
        [0],
        (1, 2),
        ["phi"],
        {"a": 1},
        object(),
        np.ones(2),
        torch.ones(2),
        [[0, 1]],
        [None],
    ]
)


def frames_of_arrays(draw: Callable) -> None:
    """`Frames.from_numpy`: one or two arguments are odd."""
    n, molecule = draw(st.integers(0, 6)), draw(st.booleans())
    rng = np.random.default_rng(draw(st.integers(0, 99)))
    x: Any = rng.normal(size=(n, 22, 3) if molecule else (n, 2))
    if molecule:
        x = bcg.systems.alanine_dipeptide().start + 0.001 * x
    arguments: dict[str, Any] = (
        {"unit": "nm", "temperature": 300.0} if molecule else {"unit": "reduced", "temperature_kT": 1.0}
    )
    change = draw(
        st.sampled_from(
            ["", "nan", "huge", "text", "ragged", "complex", "int", "scalar", "object", "one less", "torch"]
        )
    )
    x = {
        "": x,
        "nan": np.where(rng.random(x.shape) < 0.1, np.nan, x),
        "huge": 1e30 * x,
        "text": x.astype(str),
        "ragged": [[1.0], [1.0, 2.0]],
        "complex": x + 1j,
        "int": x.astype(int),
        "scalar": 1.0,
        "object": x.astype(object),
        "one less": x[..., :-1],
        "torch": torch.tensor(x),
    }[change]
    names = [
        p
        for p in inspect.signature(bcg.data.Frames.from_numpy).parameters
        if p not in ("x", "bias", "topology", "source")
    ]
    for name in draw(st.lists(st.sampled_from(names), max_size=2)):
        like = st.sampled_from(
            [
                np.zeros(n),
                np.ones(n),
                np.arange(n),
                np.zeros((n, 2)),
                np.ones((n, 2), int),
                -np.ones(n),
                np.full(n, np.nan),
            ]
        )
        arguments[name] = draw(ODD | like)
    frames = bcg.data.Frames.from_numpy(x, **arguments)
    assert len(frames) == n
    assert np.isfinite(frames.gather(slice(None))).all()
    assert frames.weights is None or (np.isfinite(frames.weights).all() and (frames.weights >= 0).all())


@cache
def files() -> Path:
    """A trajectory of a molecule in several formats."""
    folder = Path(tempfile.mkdtemp(prefix="bayescg-fire-"))
    import mdtraj

    system = bcg.systems.alanine_dipeptide()
    x = system.start + 0.002 * np.random.default_rng(0).normal(size=(6, 22, 3))
    trajectory = mdtraj.Trajectory(x, mdtraj.Topology.from_openmm(system.topology), time=np.arange(6.0))
    for name in ("a.xtc", "a.dcd", "a.pdb", "a.h5", "a.trr", "a.nc", "top.pdb"):
        (trajectory[0] if name == "top.pdb" else trajectory).save(str(folder / name))
    np.save(folder / "a.npy", x)
    return folder


def damaged(draw: Callable, content: bytes) -> bytes:
    """Cut, altered, doubled or emptied; or as it is."""
    how = draw(st.sampled_from(["whole", "cut", "altered", "altered", "inserted", "twice", "empty"]))
    place = draw(st.integers(0, max(0, len(content) - 1)))
    other = draw(st.binary(min_size=1, max_size=8))
    return {
        "whole": content, "cut": content[:place], "altered": content[:place] + other + content[place + len(other) :],
        "inserted": content[:place] + other + content[place:], "twice": content + content, "empty": b"",
    }[how]  # fmt: skip


def trajectory_files(draw: Callable) -> None:
    """`load`: files that are damaged, and odd arguments."""
    name = draw(st.sampled_from(["a.xtc", "a.dcd", "a.pdb", "a.h5", "a.trr", "a.nc", "a.npy"]))
    with tempfile.TemporaryDirectory() as folder:
        path, top = Path(folder, name), Path(folder, "top.pdb")
        path.write_bytes(damaged(draw, (files() / name).read_bytes()))
        content = (files() / "top.pdb").read_bytes()
        top.write_bytes(damaged(draw, content) if draw(st.integers(0, 3)) == 0 else content)
        arguments: dict[str, Any] = {"top": top, "temperature": 300.0}
        if name == "a.npy":
            arguments["unit"] = "nm"
        for key in draw(
            st.lists(
                st.sampled_from(
                    ["top", "temperature", "stride", "select", "unit", "dt", "whole", "weights", "memory_limit"]
                ),
                max_size=1,
            )
        ):
            arguments[key] = draw(ODD | st.sampled_from(["name CA", "not a selection", "angstrom", "all", "none"]))
        frames = bcg.data.load(path, **arguments)
        assert len(frames) > 0
        assert np.isfinite(frames.gather(slice(None))).all()


def features_of_a_molecule(draw: Callable) -> None:
    """Every maker of features with odd arguments, and odd positions for what it makes."""
    system = bcg.systems.alanine_dipeptide()
    make = getattr(
        bcg.features,
        draw(
            st.sampled_from(
                [
                    "torsions",
                    "distances",
                    "contacts",
                    "native_contacts",
                    "aligned",
                    "cartesian",
                    "internal_coordinates",
                    "invariants",
                    "beads",
                    "chain",
                    "radii",
                    "unbounded_coordinates",
                ]
            )
        ),
    )
    names = list(inspect.signature(make).parameters)
    kinds = (
        ODD
        | st.lists(st.lists(st.integers(-1, 25), max_size=5), max_size=3)
        | st.sampled_from(["name CA", "all", "no such", ("name C", "name N")])
    )
    if "parts" in names:
        bcg.features.chain(*draw(st.lists(ODD | st.sampled_from([bcg.features.torsions(system)]), max_size=3)))
        return
    needed: dict[str, Any] = {names[0]: 66 if "groups" in names else system, "groups": [[0, 1]], "beads": ["CA"]}
    arguments = {name: value for name, value in needed.items() if name in names}
    arguments |= {name: draw(kinds) for name in draw(st.lists(st.sampled_from(names), max_size=2, unique=True))}
    features = make(**arguments)
    x = draw(
        st.sampled_from(
            [
                torch.as_tensor(system.start),
                torch.zeros(2, 22, 3),
                torch.zeros(0, 22, 3),
                torch.ones(2, 21, 3),
                torch.ones(66),
                np.ones((22, 3)),
                None,
            ]
        )
    )
    y = features(x)
    assert torch.is_tensor(y)


def models(draw: Callable) -> None:
    """A model with an argument or two that are odd, and a step of a fit."""
    name = draw(st.sampled_from(model_names()))
    kind = find_model(name)
    example, frames, _ = kind.example()
    arguments = {}
    for key in inspect.signature(kind.__init__).parameters:
        if key != "self" and not callable(getattr(example, key, len)):
            arguments[key] = getattr(example, key)
    changed = draw(
        st.lists(
            st.sampled_from([k for k in inspect.signature(kind.__init__).parameters if k != "self"]),
            min_size=1,
            max_size=2,
        )
    )
    model = kind(**{**arguments, **{key: draw(ODD) for key in changed}})
    fit = bcg.fit(model, frames, steps=1, batch_size=8, uncertainty="none", compile="off", progress=False)
    assert all(torch.isfinite(p).all() for p in fit.model.parameters())


def experiment_files(draw: Callable) -> None:
    """A shipped experiment of which keys are taken away, misspelt, or given other values; or its bytes are altered."""
    name = draw(st.sampled_from(catalogue.names()))
    text = catalogue.find_experiment(name).read_text("utf-8")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "x.toml")
        if draw(st.booleans()):
            path.write_bytes(damaged(draw, text.encode()))
        else:
            raw = tomllib.loads(text)
            for _ in range(draw(st.integers(1, 2))):
                section = draw(st.sampled_from(sorted(raw)))
                table = raw[section]
                key = draw(st.sampled_from(sorted(table))) if isinstance(table, dict) and table else "name"
                value = draw(
                    st.sampled_from(
                        [
                            -1,
                            0,
                            1.5,
                            10**30,
                            float("nan"),
                            float("inf"),
                            "",
                            "phi",
                            True,
                            [],
                            {},
                            [1],
                            [["a"]],
                            {"a": 1},
                            ["left", "left"],
                            "drop",
                            "rename",
                            "section",
                        ]
                    )
                )
                if value == "section" or not isinstance(table, dict):
                    raw.pop(section)
                    if not raw:
                        return
                elif value == "drop":
                    table.pop(key, None)
                elif value == "rename":
                    table[key + "s"] = table.pop(key, 1)
                else:
                    table[key] = value
            path.write_text("\n".join(f"{k} = {toml_value(v)}" for k, v in sorted(raw.items())), encoding="utf-8")
        build.check(bcg.experiments.load(path, quick=draw(st.booleans())))


@cache
def saved() -> tuple[Path, torch.Tensor, torch.Tensor]:
    """A fit in its folder, frames, and their CVs."""
    model, frames, _ = find_model("PredictiveCV").example()
    fit = bcg.fit(model, frames, steps=3, uncertainty="none", compile="off", progress=False)
    folder = Path(tempfile.mkdtemp(prefix="bayescg-fire-")) / "fit"
    fit.save(folder)
    x = torch.as_tensor(frames.positions)
    return folder, x, fit.cv(x).mean


def saved_fits(draw: Callable) -> None:
    """`Fit.load` of a folder one of whose files is cut or altered."""
    folder, x, z = saved()
    with tempfile.TemporaryDirectory() as scratch:
        copy = Path(scratch, "fit")
        shutil.copytree(folder, copy)
        path = draw(st.sampled_from(sorted(copy.iterdir())))
        if draw(st.integers(0, 9)) == 0:
            path.unlink()
        else:
            path.write_bytes(damaged(draw, path.read_bytes()))
        assert torch.equal(bcg.Fit.load(copy).cv(x).mean, z)


DOORS = {
    "Frames.from_numpy": frames_of_arrays,
    "load": trajectory_files,
    "features": features_of_a_molecule,
    "models": models,
    "experiment files": experiment_files,
    "saved fits": saved_fits,
}
