"""A CV as a folder for PLUMED: its input, the network as TorchScript, and frames to test an installation with."""

from __future__ import annotations

import copy
import json
import warnings
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch

from bayescg.arguments import check_paths
from bayescg.checkpoint import whole
from bayescg.data import Frames, evenly
from bayescg.errors import DataError, OutputError
from bayescg.export.atoms import checked_atoms
from bayescg.export.cv_network import CVNetwork
from bayescg.export.elementary import elementary
from bayescg.export.fitted_network import agreeing, features_of, network_of
from bayescg.export.plumed_input import plumed_input
from bayescg.features import Distances, Features, features_from_config
from bayescg.inference import Fit
from bayescg.topologies import read_topology

__all__ = ["to_plumed"]

_FRAMES = 20
"""Of the self-test."""


def to_plumed(
    fit: Fit,
    directory: str | Path,
    *,
    top: Any = None,
    frames: Frames | None = None,
    atoms: Sequence[int] | None = None,
    refits: bool = True,
) -> Path:
    """Write the CVs of a fit as a folder that PLUMED runs, without torch and without bayescg.

    ======================  ================================================================================
    ``plumed.dat``          the CVs by PLUMED's own actions, labels ``z1``, ``z2``, ... (the means of ``fit.cv``)
                            and ``sd1``, ... (its standard deviations, where they are not zero)
    ``cv.pt``               the network as TorchScript in double precision, for PLUMED's PYTORCH_MODEL: features
                            ``(n, size)``, in the order of plumed.dat, to ``(n, outputs)``
    ``cv_float32.pt``       the same in single precision
    ``reference.pdb``       the atoms that the fit knows, in their order
    ``frames.xyz``          20 conformations, in nm
    ``COLVAR.expected``     what PLUMED has to print of them: the self-test, whose command is in plumed.dat
    ``versions.json``       what the folder was made of, and by which versions
    ======================  ================================================================================

    Distances that were fitted in a periodic box are to the nearest image in the box of the simulation; other distances
    are those in whole molecules.

    Parameters
    ----------
    fit : Fit
        Of a model whose CVs are a network of features, `bayescg.modelling.HasNetwork`; the features torsions,
        distances, contacts or a chain of these.
    directory : path
        Which does not exist yet, or is empty.
    top : topology, optional
        That of the simulation, whose atoms are compared with the fit's; or of the fit, where its frames have none.
    frames : Frames, optional
        Where the conformations of the self-test are from. Default: those of the fit, which one that was loaded lacks.
    atoms : sequence of int, optional
        The number, from 0, in the simulation of each atom that the fit knows, where it knows only some.
    refits : bool
        Whether the CVs are those of all refits of an ensemble or bootstrap together, as ``fit.cv`` is; or of the
        trained values alone.

    Returns
    -------
    Path
        The folder.

    Raises
    ------
    ModelError
        The fit has no CVs that can be exported, or its features are nothing that PLUMED has.
    DataError
        There are no frames for the self-test, or no topology for the reference structure.
    TopologyError, ConfigError
        The atoms of the simulation are others; `atoms` do not fit.
    OutputError
        The folder holds something, or cannot be written.

    Examples
    --------
    >>> import tempfile, numpy as np, bayescg as bcg
    >>> from bayescg.models import PredictiveCV
    >>> system = bcg.systems.alanine_dipeptide()
    >>> x = system.start + 0.01 * np.random.default_rng(0).normal(size=(100, 22, 3))
    >>> frames = bcg.data.Frames.from_numpy(x, unit="nm", temperature=300.0, topology=system.topology)
    >>> model = PredictiveCV(bcg.features.torsions(system), latent_dim=1, hidden=(8,))
    >>> fit = bcg.fit(model, frames, steps=2, uncertainty="none", progress=False)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     sorted(path.name for path in to_plumed(fit, folder).iterdir())
    ['COLVAR.expected', 'cv.pt', 'cv_float32.pt', 'frames.xyz', 'plumed.dat', 'reference.pdb', 'versions.json']
    """
    check_paths(directory=directory)
    folder = Path(directory)
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise OutputError(f"{folder} is there already and not empty: choose another folder, or delete it first")
    features, network = features_of(fit), network_of(fit, refits)
    terms = elementary(features)
    numbers = checked_atoms(int(features.atoms or 0), fit.frames, top, atoms)
    positions, topology = _conformations(fit, frames, top, len(numbers))
    agreeing(fit, network, torch.as_tensor(positions), refits)
    double = features_from_config(features.config()).double()
    expected = network(double(torch.as_tensor(positions, dtype=torch.float64))).numpy()
    record = {
        "model": type(fit.model).__name__, "kind": fit.model.kind, "citation": fit.model.citation,
        "uncertainty": fit.weights.kind, "refits": network.refits, "outputs": network.outputs,
        "features": features.names, "atoms": [i + 1 for i in numbers],
        "versions": {name: version(name) for name in ("bayescg", "torch", "numpy")},
    }  # fmt: skip
    with whole(folder) as partial:
        partial.mkdir()
        body = plumed_input(network, terms, features.names, numbers)
        (partial / "plumed.dat").write_text(_head(network) + body + _tail(network, features.size))
        _write_script(network, features.size, partial)
        _write_pdb(partial / "reference.pdb", topology, positions[:1])
        (partial / "frames.xyz").write_text(_xyz(positions, numbers, _box(features)))
        rows = [" ".join(f"{value:.9f}" for value in (t, *row)) for t, row in enumerate(expected)]
        (partial / "COLVAR.expected").write_text("\n".join([f"#! FIELDS time {' '.join(network.outputs)}", *rows, ""]))
        (partial / "versions.json").write_text(json.dumps(record, indent=1) + "\n")
    return folder


def _conformations(fit: Fit, frames: Frames | None, top: Any, atoms: int) -> tuple[np.ndarray, Any]:
    """Conformations ``(20, atoms, 3)`` for the self-test, evenly spaced, and the topology of the fit."""
    source = fit.frames if frames is None else frames
    if source is None:
        raise DataError(
            "this fit was loaded without its frames: give frames= of the same molecule, for the self-test of the folder"
        )
    topology = source.topology if source.topology is not None else None if top is None else read_topology(top)[0]
    if topology is None:
        raise DataError("neither the frames nor top= say what the atoms are: give top=, for the reference structure")
    positions = source.gather(evenly(source, _FRAMES))
    if positions.shape[1:] != (atoms, 3) or topology.n_atoms != atoms:
        raise DataError(
            f"the fit knows {atoms} atoms, the frames have {positions.shape[1]} and their topology {topology.n_atoms}: "
            "give frames= of the atoms that were fitted, with their topology"
        )
    return positions, topology


def _head(network: CVNetwork) -> str:
    return f"""\
# Collective variables of a fit of bayescg: {", ".join(network.outputs)}. Positions enter in nm, energies are kJ/mol.
# Test your PLUMED with them, in this folder: what this prints to COLVAR has to be what is in COLVAR.expected.
#     plumed driver --plumed plumed.dat --ixyz frames.xyz --length-units nm
# In a simulation print less often, and bias: for instance
#     OPES_METAD ARG=z1 PACE=500 BARRIER=40 TEMP=300
"""


def _tail(network: CVNetwork, size: int) -> str:
    inputs = f"the {size} features, in their order above"
    return f"""\
# The same network, where PLUMED was built with libtorch (ARG: {inputs}; its outputs are
# torch.node-0, ... = {", ".join(network.outputs)}):
#     torch: PYTORCH_MODEL FILE=cv.pt ARG=...

PRINT ARG={",".join(network.outputs)} FILE=COLVAR STRIDE=1 FMT=%.9f
"""


def _write_script(network: CVNetwork, size: int, folder: Path) -> None:
    """The network as TorchScript, in double and in single precision."""
    for name, dtype in (("cv.pt", torch.float64), ("cv_float32.pt", torch.float32)):
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", r"`torch\.jit")  # deprecated as it is, PYTORCH_MODEL reads it
            script = torch.jit.trace(copy.deepcopy(network).to(dtype), torch.zeros(2, size, dtype=dtype))
            script.save(str(folder / name))  # type: ignore[union-attr]


def _write_pdb(path: Path, topology: Any, positions: np.ndarray) -> None:
    import mdtraj

    mdtraj.Trajectory(positions, topology).save_pdb(str(path))


def _box(features: Features) -> np.ndarray:
    """Box vectors of the features, or zeros, which are none to PLUMED."""
    boxes = [part.vectors for part in features.modules() if isinstance(part, Distances) and part.vectors]
    return np.array(boxes[0] if boxes else np.zeros((3, 3)))


def _xyz(positions: np.ndarray, numbers: list[int], box: np.ndarray) -> str:
    """Conformations in nm; atoms of the simulation that the fit does not know lie at the origin."""
    count, lines, edges = max(numbers) + 1, [], " ".join(f"{edge:.17g}" for edge in box.flatten().tolist())
    for frame in positions:
        placed = np.zeros((count, 3))
        placed[numbers] = frame
        lines += [str(count), edges, *(f"X {x:.17g} {y:.17g} {z:.17g}" for x, y, z in placed.tolist())]
    return "\n".join([*lines, ""])
