"""Doors through which data come: frames of arrays, what is done with frames, files of trajectories, features."""

import contextlib
import inspect
import tempfile
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from hypothesis import strategies as st

import bayescg as bcg
from tests.fire.odd import ODD, damaged, molecule

__all__ = ["features_of_a_molecule", "frames_of_arrays", "methods_of_frames", "trajectory_files"]

CHANGES = (
    *("", "nan", "huge", "text", "ragged", "complex", "int", "scalar", "object", "one less", "torch"),
    *("half", "bytes", "dates", "flat", "fortran", "masked", "boolean", "list", "backwards", "none", "gradient"),
)


def frames_of_arrays(draw: Callable) -> None:
    """`Frames.from_numpy`: one or two arguments are odd."""
    n, atoms = draw(st.integers(0, 6)), draw(st.booleans())
    rng = np.random.default_rng(draw(st.integers(0, 99)))
    y = rng.normal(size=(n, 22, 3) if atoms else (n, 2))
    if atoms:
        y = molecule().start + 0.001 * y
    arguments: dict[str, Any] = (
        {"unit": "nm", "temperature": 300.0} if atoms else {"unit": "reduced", "temperature_kT": 1.0}
    )
    if atoms and draw(st.booleans()):
        arguments["topology"] = molecule().topology
    change = draw(st.sampled_from(CHANGES))
    x: Any = {
        "": lambda: y, "nan": lambda: np.where(rng.random(y.shape) < 0.1, np.nan, y), "huge": lambda: 1e30 * y,
        "text": lambda: y.astype(str), "ragged": lambda: [[1.0], [1.0, 2.0]], "complex": lambda: y + 1j,
        "int": lambda: y.astype(int), "scalar": lambda: 1.0, "object": lambda: y.astype(object),
        "one less": lambda: y[..., :-1], "torch": lambda: torch.tensor(y), "half": lambda: y.astype(np.float16),
        "bytes": lambda: y.tobytes(), "dates": lambda: y.astype("datetime64[s]"), "flat": lambda: y.ravel(),
        "fortran": lambda: np.asfortranarray(y), "masked": lambda: np.ma.masked_greater(y, 0.5),
        "boolean": lambda: y > 0, "list": lambda: y.tolist(), "backwards": lambda: y[::-1], "none": lambda: None,
        "gradient": lambda: torch.tensor(y, requires_grad=True),
    }[change]()  # fmt: skip
    names = [p for p in inspect.signature(bcg.data.Frames.from_numpy).parameters if p != "x"]
    like = st.sampled_from([
        np.zeros(n), np.ones(n), np.arange(n), np.zeros((n, 2)), np.ones((n, 2), int), -np.ones(n), np.full(n, np.nan),
        np.full(n, np.inf), np.zeros_like(y), 1e300 * np.ones(n), np.full(n, 1e-300), np.ones((n, 3, 3)), np.eye(3),
        np.ones(22), [1] * n, ["a"] * n, torch.ones(n),
    ])  # fmt: skip
    for name in draw(st.lists(st.sampled_from(names), max_size=2)):
        arguments[name] = draw(ODD | like)
    frames = bcg.data.Frames.from_numpy(x, **arguments)
    assert len(frames) == n
    assert np.isfinite(frames.gather(slice(None))).all()
    assert frames.weights is None or (np.isfinite(frames.weights).all() and (frames.weights >= 0).all())
    assert frames.weights is None or frames.weights.sum() > 0
    assert frames.dt is None or 0 < frames.dt < np.inf
    assert frames.momenta is None or np.isfinite(frames.momenta).all()
    assert frames.forces is None or np.isfinite(frames.forces).all()
    repr(frames)
    frames.fingerprint()


@cache
def _several() -> list[Any]:
    """Frames in time, of several trajectories, weighted, of a molecule, and without time."""
    rng = np.random.default_rng(0)
    plain: dict[str, Any] = {"unit": "reduced", "temperature_kT": 1.0}
    x = rng.normal(size=(24, 2)).cumsum(0)
    start = molecule().start + 0.001 * rng.normal(size=(8, 22, 3))
    make = bcg.data.Frames.from_numpy
    return [
        make(x, dt=0.5, **plain),
        make(x, dt=0.5, trajectory=np.repeat([0, 1, 2], 8), weights=rng.random(24), **plain),
        make(rng.normal(size=(24, 2)), energy=rng.random(24), **plain),
        make(start, unit="nm", temperature=300.0, topology=molecule().topology, dt=2.0),
        make(x, dt=0.5, **plain)[::3],
        make(x[:1], **plain),
    ]


def methods_of_frames(draw: Callable) -> None:
    """What is done with frames: parts, pairs, stretches, blocks, splits, equilibrium weights."""
    frames = draw(st.sampled_from(_several()))
    n = len(frames)
    name = draw(
        st.sampled_from(["subset", "item", "first", "lagged", "stretches", "blocks", "split", "equilibrium", "gather"])
    )
    rows = st.sampled_from([
        slice(0, 3), slice(None, None, -1), slice(5, 2), slice(None, None, 0), slice(1.5, 3), [0, 0], [-1], [n],
        np.ones(n, bool), np.zeros(n, bool), np.ones(n + 1, bool), np.arange(n)[::-1], np.zeros((2, 2), int), [0.5],
        np.array([1.0, 2.0]), torch.arange(2), (0, 1), ..., [True], np.array([[True]]), "positions",
    ])  # fmt: skip
    number = ODD | st.sampled_from([0.5, 1.0, 2.0, 0.3, 4, 8, 20])
    if name in ("subset", "item"):
        index = draw(rows | ODD)
        part = frames.subset(index) if name == "subset" else frames[index]
        whole = frames.gather(slice(None))
        rows = [index] if isinstance(index, int | np.integer) else index
        assert np.array_equal(part.gather(slice(None)), whole[rows])
        assert len(part.trajectory) == len(part)
    elif name == "gather":
        frames.gather(draw(rows), draw(st.sampled_from(["positions", "positions", "energy", "nothing"])))
    elif name == "first":
        part = frames.first(draw(number))
        assert 0 < len(part) <= n
    elif name == "lagged":
        pairs = frames.lagged(draw(number))
        assert (frames.trajectory[pairs.i] == frames.trajectory[pairs.j]).all()
        assert np.ptp(frames.order[pairs.j] - frames.order[pairs.i]) == 0
    elif name == "stretches":
        rows = frames.stretches(draw(number), draw(number | st.just(200)))
        assert rows.index.max() < n
    elif name == "blocks":
        assert len(frames.blocks(draw(number))) == n
    elif name == "split":
        arguments = {key: draw(number) for key in draw(st.lists(st.sampled_from(["blocks", "test", "seed"])))}
        train, test = frames.split(**arguments)
        assert len(train) + len(test) == n
    else:
        basis = ODD | st.sampled_from([lambda x: torch.tanh(x), lambda x: x.numpy(), lambda x: torch.nan * x])
        frames.equilibrium(draw(basis), draw(number))


@cache
def _files() -> Path:
    """A trajectory of a molecule in several formats."""
    folder = Path(tempfile.mkdtemp(prefix="bayescg-fire-"))
    import mdtraj

    x = molecule().start + 0.002 * np.random.default_rng(0).normal(size=(6, 22, 3))
    trajectory = mdtraj.Trajectory(x, mdtraj.Topology.from_openmm(molecule().topology), time=np.arange(6.0))
    for name in ("a.xtc", "a.dcd", "a.pdb", "a.h5", "a.trr", "a.nc", "a.gro", "top.pdb"):
        (trajectory[0] if name in ("top.pdb", "a.gro") else trajectory).save(str(folder / name))
    np.save(folder / "a.npy", x)
    np.savez(folder / "a.npz", positions=x)
    return folder


def trajectory_files(draw: Callable) -> None:
    """`load`: files that are damaged, or of another name, and odd arguments."""
    name = draw(st.sampled_from(sorted(path.name for path in _files().glob("a.*"))))
    with tempfile.TemporaryDirectory() as folder:
        content = (_files() / name).read_bytes()
        damage = draw(st.integers(0, 2)) > 0
        if draw(st.integers(0, 9)) == 0:
            name = draw(st.sampled_from(["a.xtc", "a.dcd", "a.pdb", "a.h5", "a.npy", "a.txt", "a", "a.xtc.gz"]))
        path, top = Path(folder, name), Path(folder, "top.pdb")
        path.write_bytes(damaged(draw, content) if damage else content)
        content = (_files() / "top.pdb").read_bytes()
        top.write_bytes(damaged(draw, content) if draw(st.integers(0, 3)) == 0 else content)
        arguments: dict[str, Any] = {"top": top, "temperature": 300.0}
        if path.suffix in (".npy", ".npz"):
            arguments["unit"] = "nm"
        names = [key for key in inspect.signature(bcg.data.load).parameters if key != "paths"]
        for key in draw(st.lists(st.sampled_from(names), max_size=1)):
            arguments[key] = draw(ODD | st.sampled_from(["name CA", "not a selection", "angstrom", "all", "none"]))
        paths = draw(st.sampled_from([path, path, str(path), [path], [path, path], [], [top], folder, [path, None]]))
        with contextlib.chdir(folder):  # a `cache` may have any name
            frames = bcg.data.load(paths, **arguments)
        assert len(frames) > 0
        assert np.isfinite(frames.gather(slice(None))).all()


MAKERS = (
    *("torsions", "distances", "contacts", "native_contacts", "aligned", "cartesian", "internal_coordinates"),
    *("invariants", "beads", "chain", "radii", "unbounded_coordinates"),
)


def features_of_a_molecule(draw: Callable) -> None:
    """Every maker of features with odd arguments, and odd positions for what it makes."""
    system = molecule()
    make = getattr(bcg.features, draw(st.sampled_from(MAKERS)))
    names = list(inspect.signature(make).parameters)
    kinds = (
        ODD
        | st.lists(st.lists(st.integers(-1, 25), max_size=5), max_size=3)
        | st.sampled_from(["name CA", "all", "no such", ("name C", "name N"), system, system.topology, system.start])
    )
    if "parts" in names:
        bcg.features.chain(*draw(st.lists(ODD | st.sampled_from([bcg.features.torsions(system)]), max_size=3)))
        return
    needed: dict[str, Any] = {names[0]: 66 if "groups" in names else system, "groups": [[0, 1]], "beads": ["CA"]}
    arguments = {name: value for name, value in needed.items() if name in names}
    arguments |= {name: draw(kinds) for name in draw(st.lists(st.sampled_from(names), max_size=2, unique=True))}
    features = make(**arguments)
    start = torch.as_tensor(system.start)
    x = draw(
        st.sampled_from([
            start, start, start.double(), start.half(), start.long(), start.numpy(), start.flatten(),
            torch.zeros(2, 22, 3),
            torch.zeros(0, 22, 3), torch.ones(2, 21, 3), torch.ones(66), np.ones((22, 3)), None, start * torch.nan,
            start[None, None], start.bool(), start + 0j, [[0.0]], "x", torch.tensor(1.0),
        ])
    )  # fmt: skip
    y = features(x)
    assert torch.is_tensor(y)
    assert y.shape[-1] == features.size
