"""Trajectories in mdtraj's HDF5 format by h5py: mdtraj takes PyTables, which may end the process on a damaged one."""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bayescg.data import frame_checks

if TYPE_CHECKING:
    import mdtraj

__all__ = ["hdf5_parts"]

_UNITS = {"coordinates": "nanometers", "time": "picoseconds", "cell_lengths": "nanometers", "cell_angles": "degrees"}


def hdf5_parts(path: Path, topology: "mdtraj.Topology", frames: int) -> Iterator[Any]:
    """A file in parts of so many frames.

    Raises
    ------
    TopologyError
        It has another number of atoms.
    """
    import h5py
    import mdtraj
    from mdtraj.utils import in_units_of

    with h5py.File(path) as file:
        fields: dict[str, Any] = {name: file[name] for name in _UNITS if name in file}
        units = {name: field.attrs["units"] for name, field in fields.items()}
        for start in range(0, len(fields["coordinates"]), frames):
            part: dict[str, Any] = dict.fromkeys(_UNITS)
            for name, field in fields.items():
                unit = units[name].decode() if isinstance(units[name], bytes) else units[name]
                part[name] = in_units_of(field[start : start + frames], unit, _UNITS[name])
            x = part["coordinates"]
            frame_checks.check_atoms(x.shape[1], topology, str(path))
            yield mdtraj.Trajectory(x, topology, part["time"], part["cell_lengths"], part["cell_angles"])
