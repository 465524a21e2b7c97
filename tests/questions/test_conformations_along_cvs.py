"""Conformations along a CV: real frames at its values, and a PDB file of them that any viewer reads."""

from types import SimpleNamespace
from typing import Any

import mdtraj
import numpy as np
import pytest
import torch
from torch.distributions import Independent, Normal

import bayescg as bcg
from bayescg.data import Frames
from bayescg.errors import DataError
from bayescg.questions import Context
from bayescg.questions.collective_variables import CollectiveVariables


class Lengths:
    """Two CVs: the distances of three atoms in a row."""

    model = None

    def cv(self, x: Any) -> Any:
        x = torch.as_tensor(np.asarray(x))
        return Independent(Normal((x[:, 1:] - x[:, :-1]).norm(dim=-1), 1e-3), 1)


@pytest.fixture(scope="module")
def frames() -> Frames:
    top = mdtraj.Topology()
    residue = top.add_residue("MOL", top.add_chain())
    atoms = [top.add_atom(name, mdtraj.element.carbon, residue) for name in ("C1", "C2", "C3")]
    for a, b in zip(atoms[1:], atoms, strict=False):
        top.add_bond(a, b)
    first, second = np.random.default_rng(0).uniform(0.1, 0.3, (2, 4000))
    x = np.zeros((4000, 3, 3))
    x[:, 1, 0] = x[:, 2, 0] = first
    x[:, 2, 1] = second
    return Frames.from_numpy(x, unit="nm", topology=top)


def test_they_are_frames_at_evenly_spaced_values_of_the_cv(frames: Frames, tmp_path: Any) -> None:
    settings: Any = SimpleNamespace(torsions=[], observables=[])
    finding = CollectiveVariables().ask(Context(Lengths(), frames, settings, 0))
    assert list(finding.figures) == ["cv", "conformations_1", "conformations_2"]
    drawing = finding.figures["conformations_2"]
    assert drawing.molecules is not None
    text = drawing.molecules()
    (tmp_path / "models.pdb").write_text(text)
    models = mdtraj.load(str(tmp_path / "models.pdb"))
    first, second = np.linalg.norm(np.diff(models.xyz, axis=1), axis=2).T
    assert second == pytest.approx(np.linspace(0.104, 0.296, 7), abs=0.01)  # quantiles .02 to .98, some 4000 frames
    assert first == pytest.approx(0.2, abs=0.01)
    assert models.topology.n_bonds == 2
    assert text.count("REMARK  99 CV 2: ") == 7
    assert len(drawing.draw().axes) == 7


def test_what_has_no_topology_has_no_conformations() -> None:
    with pytest.raises(DataError, match="no topology"):
        bcg.plot.conformations(Frames.from_numpy(np.zeros((2, 3, 3)), unit="nm"))
