"""Energies, forces and dynamics by compiled C++ on a processor."""

import ctypes
from typing import Any

import numpy as np
import torch
from torch import Tensor

from bayescg.kernels import library
from bayescg.systems.forcefield.tables import Tables

__all__ = ["Native", "kernels"]

_INSTEAD = "molecular energies come from torch operations, which are far slower"


def kernels() -> ctypes.CDLL | str:
    """The compiled force field, or the reason why there is none; see :func:`bayescg.kernels.library`."""
    return library("force_field", _INSTEAD)


class _Motion(ctypes.Structure):
    """Motion of kernels/dynamics.h."""

    _fields_ = (
        *((f"from_{name}", ctypes.c_void_p) for name in "xvf"),
        *((name, ctypes.c_void_p) for name in ("x", "v", "f", "energy", "dt", "inverse_mass", "spread")),
        ("slowed", ctypes.c_double), ("seed", ctypes.c_uint64), ("step", ctypes.c_uint64), ("steps", ctypes.c_int64),
    )  # fmt: skip


class Native:
    """Tables as the kernels read them, in one precision.

    Parameters
    ----------
    tables : Tables
        Parameters of the force field.
    dtype : torch.dtype
        Single or double precision.
    kernels : ctypes.CDLL
        From the function of this name.
    """

    def __init__(self, tables: Tables, dtype: torch.dtype, kernels: ctypes.CDLL):
        single = dtype == torch.float32
        self._call = kernels.evaluate_float if single else kernels.evaluate_double
        self._move = kernels.move_float if single else kernels.move_double
        self._arrays = []  # kept, because the kernels see addresses only
        fields = _fields(tables)
        values = [self._value(value, np.float32 if single else np.float64) for value in fields.values()]

        class Struct(ctypes.Structure):
            _fields_ = [(name, type(value)) for name, value in zip(fields, values, strict=True)]

        self._tables = Struct(*values)

    def __call__(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Energies (frames,) in kJ/mol and forces (frames, atoms, 3) in kJ/mol/nm of frames on the processor."""
        x = x.contiguous()
        energy, force = x.new_empty(len(x)), torch.empty_like(x)
        self._run(self._call, len(x), *(ctypes.c_void_p(tensor.data_ptr()) for tensor in (x, energy, force)))
        return energy, force

    def move(
        self,
        x: Tensor,
        v: Tensor,
        f: Tensor,
        dt: Tensor,
        inverse_mass: Tensor,
        steps: int,
        friction: "tuple[float, Tensor, int, int] | None" = None,
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """So many steps of velocity Verlet, or with friction of BAOAB.

        Parameters
        ----------
        x, v, f : Tensor, shape (frames, dim)
            Positions, velocities and forces.
        dt : Tensor, shape (frames,)
            Time step of each frame.
        inverse_mass : Tensor, shape (dim,)
        steps : int
        friction : tuple, optional
            The share of velocities that a step leaves; what its noise adds to them, (dim,); a seed, and the number of
            the first step. Noise of a frame is given by the seed, the frame's number and the step's alone.

        Returns
        -------
        tuple of Tensor
            Positions, velocities and forces, and energies (frames,).
        """
        begin = [value.contiguous() for value in (x, v, f)]
        end = (torch.empty_like(begin[0]), torch.empty_like(begin[0]), torch.empty_like(begin[0]), x.new_empty(len(x)))
        slowed, spread, seed, step = friction or (1.0, None, 0, 0)
        arrays = *begin, *end, dt.contiguous(), inverse_mass.contiguous(), spread
        pointers = [None if array is None else array.data_ptr() for array in arrays]
        self._run(self._move, len(x), ctypes.byref(_Motion(*pointers, slowed, seed, step, steps)))
        return end

    def _run(self, call: Any, frames: int, *arguments: Any) -> None:
        counts = (ctypes.c_int64(frames), ctypes.c_int64(torch.get_num_threads()))
        if call(ctypes.byref(self._tables), *arguments, *counts):
            raise MemoryError("no memory is left to take a tile of frames in each thread: use fewer threads")

    def _value(self, value: "int | np.ndarray", real: type) -> "ctypes.c_int64 | ctypes.c_void_p":
        if isinstance(value, int):
            return ctypes.c_int64(value)
        if value.dtype.kind == "f":
            value = value.astype(real)
        self._arrays.append(np.ascontiguousarray(value))
        return ctypes.c_void_p(self._arrays[-1].ctypes.data)


def _fields(tables: Tables) -> "dict[str, int | np.ndarray]":
    """The members of the structure Tables in kernels/tile.h, in their order."""
    fields: dict[str, int | np.ndarray] = {"atoms": tables.atoms}

    def add(prefix: str, table: object, **columns: type) -> None:
        for name, kind in columns.items():
            value = np.zeros(0) if table is None else getattr(table, name)
            fields[f"{prefix}_{name}"] = np.asarray(value, np.int32 if kind is int else np.float64)

    def count(name: str, table: object, column: str) -> None:
        fields[name] = 0 if table is None else len(getattr(table, column))

    count("bonds", tables.bonds, "k")
    add("bond", tables.bonds, atoms=int, length=float, k=float)
    count("angles", tables.angles, "k")
    add("angle", tables.angles, atoms=int, angle=float, k=float)
    count("torsions", tables.torsions, "cos")
    columns = 0 if tables.torsions is None else tables.torsions.cos.shape[1]
    orders = next((n for n in (5, 7) if n >= columns), columns)  # the kernels unroll these
    fields["orders"] = orders
    add("torsion", tables.torsions, atoms=int)
    for name in ("cos", "sin"):
        series = np.zeros((0, columns)) if tables.torsions is None else getattr(tables.torsions, name)
        fields[f"torsion_{name}"] = np.pad(series, ((0, 0), (0, orders - columns)))
    count("impropers", tables.impropers, "k")
    add("improper", tables.impropers, torsion=int, angle=float, k=float)
    count("maps", tables.cmap, "phi")
    add("map", tables.cmap, phi=int, psi=int, first=int, size=int, patches=float)
    fields["ranges"] = len(tables.pairs)
    fields["pairs"] = np.array([len(pairs.qq) for pairs in tables.pairs], np.int64)
    fields["pair_atoms"] = np.concatenate([np.zeros((0, 2), int), *(p.atoms for p in tables.pairs)]).astype(np.int32)
    for name in ("qq", "a", "b"):
        fields[f"pair_{name}"] = np.concatenate([np.zeros(0), *(getattr(p, name) for p in tables.pairs)])
    # no switching is switching that begins at the cutoff; a width of zero would be divided by
    reaches = [pairs.reach for pairs in tables.pairs]
    fields["range"] = np.array([(r.cutoff, min(r.switch, 1e9), r.k_rf, r.c_rf) for r in reaches])
    born = tables.born
    neck = None if born is None else born.neck
    fields["born"] = int(born is not None)
    fields["rescaled"] = int(born is not None and born.rescaled)
    fields["swallowed"] = int(born is not None and born.swallowed)
    fields["neck"] = int(neck is not None)
    for name in ("charge", "radius", "offset_radius", "scaled_radius", "alpha", "beta", "gamma"):
        fields[name] = np.zeros(0) if born is None else getattr(born, name)
    fields["area"] = np.zeros(0) if born is None else born.surface * (born.radius + born.probe) ** 2
    fields["neck_depth"] = np.zeros(0) if neck is None else neck.scale * neck.depth
    fields["neck_position"] = np.zeros(0) if neck is None else neck.position
    fields["neck_reach"] = np.zeros(0) if neck is None else neck.reach
    solvent = np.zeros(4)
    if born is not None:
        dielectrics = np.array([born.solute_dielectric, born.solvent_dielectric])
        solvent = np.array([*(born.coulomb / dielectrics), born.kappa, born.cutoff])
    fields["solvent"] = solvent
    return fields
