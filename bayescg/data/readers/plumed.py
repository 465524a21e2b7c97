"""PLUMED's COLVAR files: values of collective variables along a simulation, and the weights of its bias."""

import os
from collections.abc import Sequence
from dataclasses import replace
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import numpy as np

from bayescg import units
from bayescg.data import frame_checks
from bayescg.data.frames import Frames
from bayescg.data.readers.assembly import Assembly
from bayescg.data.readers.files import Chunk, existing
from bayescg.errors import ConfigError, DataError

__all__ = ["from_colvar"]

BIAS = ("bias", "rbias")
BOOKKEEPING = (*BIAS, "rct", "work", "zed", "neff", "nker", "acc", "scale")
"""What PLUMED's biases print beside the variables: ``metad.rct``, ``opes.zed``, ..."""


def from_colvar(
    paths: Any,
    columns: Sequence[str] | None = None,
    temperature: float | None = None,
    weights: str | Sequence[str] | None = "ask",
    energy_unit: str = "kJ/mol",
) -> Frames:
    r"""Frames from PLUMED COLVAR files: positions are columns, in the units that PLUMED printed them in.

    Parameters
    ----------
    paths : path or list of paths
        COLVAR files; each is one trajectory (a walker).
    columns : list of str, optional
        Which columns; without it all but the time and what biases print about themselves.
    temperature : float, optional
        Temperature in K.
    weights : {"bias"}, list of str, or None
        Importance weights :math:`\exp(V / kT)`, with V the sum of all ``*.bias`` columns (``"bias"``), or of
        the named ones (``["metad.rbias"]`` is right for metadynamics). None counts every frame the same. A file with
        a bias column is refused until one of these is chosen.
    energy_unit : {"kJ/mol", "kcal/mol", "hartree"}
        Unit of the bias: PLUMED's own, kJ/mol, unless its input says ``UNITS ENERGY=``.

    Returns
    -------
    Frames
        ``unit="reduced"``, positions (n, columns) float64, times in ps. Its `weights` also serve the structures of the
        same simulation: ``load(..., weights=from_colvar(...).weights)``.

    Raises
    ------
    DataError
        No ``#! FIELDS`` header, an unknown column, lines cut short, a bias without a choice of weights.

    Notes
    -----
    The weights of a bias that still grows (early metadynamics) are not those of equilibrium: drop that part first.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.NamedTemporaryFile("w", suffix=".colvar") as file:
    ...     _ = file.write("#! FIELDS time phi umbrella.bias\n 0.0 -1.0 0.0\n 1.0 -1.2 2.4943\n")
    ...     _ = file.seek(0)
    ...     frames = from_colvar(file.name, temperature=300.0, weights="bias")
    >>> frames.positions.ravel(), (frames.weights / frames.weights[0]).round(3)
    (array([-1. , -1.2]), array([1.   , 2.718]))
    """
    files = [paths] if isinstance(paths, str | os.PathLike) else list(paths)
    if not files:
        raise DataError("no COLVAR file given: the list of paths is empty (a pattern that matched nothing?)")
    read = [_read(existing(path)) for path in files]
    fields = read[0][0]
    for path, (other, _) in zip(files, read, strict=True):
        if other != fields:
            raise DataError(f"{path}: its columns are {' '.join(other)}, those of {files[0]} {' '.join(fields)}")
    if columns is None:
        columns = [name for name in fields if name != "time" and name.split(".")[-1] not in BOOKKEEPING]
    places = [_column(name, fields, files[0]) for name in columns]
    if not places:
        raise DataError(f"{files[0]}: no column is left of {' '.join(fields)}: name some in columns=")
    kelvin, joules = frame_checks.positive(temperature, "temperature", "K"), units.energy_factor(energy_unit)
    with Assembly(None, None, 1) as assembly:
        for path, (_, rows) in zip(files, read, strict=True):
            times = rows[:, fields.index("time")] if "time" in fields else None
            assembly.add(str(path), [Chunk(rows[:, places], times)], "reduced")
    frames = assembly.finish().frames(
        unit="reduced",
        ordered=False,
        weights=_weights(np.concatenate([rows for _, rows in read]), fields, weights, kelvin, joules, files[0]),
        provenance={
            "files": [str(path) for path in files],
            "reader": "colvar",
            "columns": list(columns),
            "weights": weights,
        },
    )
    return replace(frames, temperature=kelvin)


def _read(path: Path) -> tuple[list[str], np.ndarray]:
    fields: list[str] = []
    lines = 0
    try:
        with path.open() as file:
            for number, line in enumerate(file, 1):
                if line.startswith("#! FIELDS"):
                    again = line.split()[2:]
                    if fields and again != fields:
                        raise DataError(
                            f"{path}: line {number} changes the columns from {' '.join(fields)} to {' '.join(again)}: "
                            "split the file there (PLUMED appends after a restart)"
                        )
                    fields = again
                lines += bool(line.split("#")[0].strip())
        if not fields:
            raise DataError(f"{path}: no '#! FIELDS' header: not a COLVAR file of PLUMED's")
        if not lines:
            raise DataError(f"{path}: the file is empty: a header and no line of values")
        rows = np.loadtxt(path, comments="#", ndmin=2)
    except (ValueError, OSError) as error:
        if isinstance(error, DataError):
            raise
        raise DataError(f"{path}: a line is cut short or not numbers ({error}): remove it") from error
    if rows.shape[1] != len(fields):
        raise DataError(
            f"{path}: {rows.shape[1]} columns of values, the header names {len(fields)}: {' '.join(fields)}"
        )
    return fields, rows


def _column(name: str, fields: list[str], path: Any) -> int:
    if name not in fields:
        near = get_close_matches(name, fields, 1)
        hint = f"; did you mean {near[0]!r}?" if near else ""
        raise DataError(f"{path}: no column {name!r} among {' '.join(fields)}{hint}")
    return fields.index(name)


def _weights(
    table: np.ndarray,
    fields: list[str],
    choice: str | Sequence[str] | None,
    kelvin: float | None,
    joules: float,
    path: Any,
) -> np.ndarray | None:
    biased = [name for name in fields if name.split(".")[-1] in BIAS]
    if isinstance(choice, str) and choice not in ("ask", "bias"):
        raise ConfigError(f"weights={choice!r}: use 'bias', a list of columns, or None")
    if choice is None or (choice == "ask" and not biased):
        return None
    if choice == "ask":
        raise DataError(
            f"{path}: column {biased[0]} says that the simulation was biased: give weights='bias' for exp(bias/kT), "
            f"weights=[{biased[-1]!r}] for chosen columns, or weights=None to count all frames alike"
        )
    names = [n for n in fields if n.split(".")[-1] == "bias"] if choice == "bias" else list(choice)
    if not names:
        raise DataError(f"{path}: weights='bias', but no column ends in .bias among {' '.join(fields)}")
    if kelvin is None:
        raise DataError(f"{path}: weights exp(bias/kT) need the temperature of the simulation: give temperature= (K)")
    bias = table[:, [_column(name, fields, path) for name in names]].sum(axis=1)
    log_weights = bias * joules / units.kT(kelvin)
    return np.exp(log_weights - np.max(log_weights[np.isfinite(log_weights)], initial=-np.inf))
