"""The choice of a z-matrix, what its coordinates mean, and what is refused."""

import math
import re
from typing import Any

import mdtraj
import numpy as np
import pytest
import torch

from bayescg.errors import ConfigError, TopologyError
from bayescg.features import InternalCoordinates, internal_coordinates
from bayescg.features.observables import Torsion
from bayescg.features.zmatrix import protein_torsions


def test_there_are_few_levels(make: Any):
    expected = {
        "water": 0,
        "methane": 1,
        "ACE-ALA-NME": 4,  # 22 atoms
        "ACE-LYS-ILE-GLY-THR-MET-NME": 13,  # 91: half of the backbone, then lysine
    }
    assert {name: internal_coordinates(make(name)[0]).levels for name in expected} == expected


@pytest.mark.parametrize(
    ("name", "count", "missing"),
    [
        ("ACE-ALA-NME", 2, set()),
        ("ACE-PRO-NME", 4, {"chi2 PRO-2"}),  # it turns about a bond of the ring, over the one that is cut
        ("ACE-LYS-ILE-GLY-THR-MET-NME", 24, set()),
        ("ACE-ARG-ASN-ASP-CYS-GLN-GLU-HIS-NME", 38, set()),
        ("ACE-LEU-PHE-SER-TRP-TYR-VAL-NME", 27, set()),
    ],
)
def test_torsions_with_names_are_coordinates(make: Any, name: str, count: int, missing: set[str]):
    top, x = make(name)
    features = internal_coordinates(top)
    named = protein_torsions(top)
    assert len(named) == count
    assert named.keys() - set(features.names) == missing
    y = features(x)
    for label in named.keys() - missing:
        value = Torsion(top.n_atoms, named[label], label)(x)
        torch.testing.assert_close(y[:, features.names.index(label)], value)
    assert len(features.names) == len(set(features.names)) == features.size
    assert features.kinds.count("torsion") == top.n_atoms - 3


def beyond(top: mdtraj.Topology, a: int, b: int) -> list[int]:
    """Atoms on b's side of the bond a-b; a among them where the bond lies in a ring."""
    neighbours: dict[int, set[int]] = {atom.index: set() for atom in top.atoms}
    for p, q in top.bonds:
        neighbours[p.index].add(q.index)
        neighbours[q.index].add(p.index)
    found, stack = {b}, [other for other in neighbours[b] if other != a]
    while stack:
        atom = stack.pop()
        if atom not in found:
            found.add(atom)
            stack.extend(neighbours[atom])
    return sorted(found)


@pytest.mark.parametrize("name", ["ACE-PRO-NME", "ACE-LYS-ILE-GLY-THR-MET-NME", "ethane", "butane"])
def test_turning_about_a_bond_moves_one_torsion(make: Any, name: str, apart: Any):
    top, x = make(name)
    features = internal_coordinates(top)
    y, turned = features(x), 0
    for p, q in top.bonds:
        a, b = p.index, q.index
        side = beyond(top, a, b)
        if a in side or len(side) == 1 or len(side) == top.n_atoms - 1:
            continue
        axis = torch.nn.functional.normalize(x[:, [b]] - x[:, [a]], dim=-1)
        arm = x[:, side] - x[:, [b]]
        along = axis * (axis * arm).sum(-1, keepdim=True)
        moved = x.clone()
        cross = torch.linalg.cross(axis.expand_as(arm), arm)
        moved[:, side] = x[:, [b]] + along + math.cos(0.7) * (arm - along) + math.sin(0.7) * cross
        change = apart(features, features(moved), y)
        expected = torch.zeros_like(change)
        column = int(change[0].abs().argmax())
        assert features.kinds[column] == "torsion"
        expected[:, column] = 0.7
        torch.testing.assert_close(change, expected, atol=1e-9, rtol=0)
        turned += 1
    assert turned == {"ACE-PRO-NME": 5, "ethane": 1, "butane": 1}.get(name, 34)


def test_a_bridge_between_side_chains_does_not_cut_the_backbone(make: Any, superposed: Any):
    top, x = make("ACE-LYS-ILE-GLY-THR-MET-NME")
    bridged = top.copy()
    index = {(atom.residue.name, atom.name): atom for atom in bridged.atoms}
    bridged.add_bond(index["LYS", "CB"], index["MET", "CB"])
    features = internal_coordinates(bridged)
    backbone = {label for label in protein_torsions(top) if label.startswith(("phi", "psi", "omega"))}
    assert backbone <= set(features.names)
    assert (superposed(features.positions(features(x)), x) - x).abs().max() < 1e-10


def test_handedness(make: Any):
    top, x = make("ACE-LYS-ILE-GLY-THR-MET-NME")
    features = internal_coordinates(top)
    assert features.centre_names == ["LYS-2 CA", "ILE-3 CA", "ILE-3 CB", "THR-5 CA", "THR-5 CB", "MET-6 CA"]
    assert (features.chirality(x) == 1).all()
    # The torsions of CB and HA relative to the backbone decide, and they alone.
    y, ca = features(x), int(features.centres[3, 0]) + 1
    here = [k for k, name in enumerate(features.names) if re.match(rf"torsion\(.*, CA {ca}, (CB|HA) \d+\)$", name)]
    assert len(here) == 2
    y[:, here] *= -1
    expected = torch.ones(8, 6, dtype=torch.float64)
    expected[:, 3] = -1
    torch.testing.assert_close(features.chirality(features.positions(y)), expected)
    assert internal_coordinates(make("butane")[0]).chirality(torch.zeros(4, 3)).shape == (0,)


def test_a_given_zmatrix(make: Any, apart: Any, superposed: Any):
    top, x = make("butane")
    features = internal_coordinates(top, zmatrix=[[0], [1, 0], [2, 1, 0], [3, 2, 1, 0]])
    assert features.names[:3] == ["bond(C1 1, C2 2)", "bond(C2 2, C3 3)", "bond(C3 3, C4 4)"]
    assert features.names[3:] == [
        "angle(C1 1, C2 2, C3 3)",
        "angle(C2 2, C3 3, C4 4)",
        "torsion(C1 1, C2 2, C3 3, C4 4)",
    ]
    torch.testing.assert_close(features(x)[:, 5], Torsion(4, [0, 1, 2, 3], "")(x))
    assert (superposed(features.positions(features(x)), x) - x).abs().max() < 1e-10
    # Any atoms may place any other: no bonds are needed.
    free = InternalCoordinates(list("abcde"), [[4], [0, 4], [3, 4, 0], [2, 0, 3, 4], [1, 2, 4, 3]])
    x = torch.randn(8, 5, 3, dtype=torch.float64)
    assert (superposed(free.positions(free(x)), x) - x).abs().max() < 1e-10


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([[0], [1, 0], [2, 1, 0]], "3 rows; it needs one for each atom"),
        ([[0], [1, 0], [2, 1, 0], [3, 2, 1]], r"row 4 .* must have 4 atoms"),
        ([[0], [1], [2, 1, 0], [3, 2, 1, 0]], r"row 2 .* must have 2 atoms"),
        ([[0], [1, 2], [2, 1, 0], [3, 2, 1, 0]], r"row 2 .* earlier"),
        ([[0], [1, 0], [2, 1, 1], [3, 2, 1, 0]], r"row 3 .* different"),
        ([[0], [1, 0], [2, 1, 0], [2, 0, 1, 2]], r"row 4 .* different"),
        ([[0], [1, 0], [4, 1, 0], [3, 1, 0, 4]], r"row 3 .* atom 4: there are 4"),
        ([[0], [1, 0], [2, 1, 0], [3, 2, 1, 0], [0, 1, 2, 3]], r"row 5 .* atom 0"),
    ],
)
def test_what_is_no_zmatrix_is_refused(rows: list[list[int]], message: str, make: Any):
    with pytest.raises(ConfigError, match=message):
        internal_coordinates(make("butane")[0], zmatrix=rows)


def test_what_is_not_one_molecule_is_refused(make: Any):
    two = make("water")[0].join(make("butane")[0])
    with pytest.raises(TopologyError, match="no bonds join atom C1 4 to H1 1"):
        internal_coordinates(two)
    with pytest.raises(TopologyError, match="at least three atoms; this molecule has 2"):
        internal_coordinates(make("water")[0].subset([0, 1]))


def test_atoms_on_a_line_are_named(make: Any):
    x = np.array([[[0.0, 0.1, 0.0], [0.0, 0.0, 0.0], [0.15, 0.0, 0.0], [0.3, 0.0, 0.0]]], dtype=np.float32)
    with pytest.raises(TopologyError, match=r"the atoms C4 4, C3 3, C2 2 lie on a line.*zmatrix="):
        internal_coordinates(mdtraj.Trajectory(x, make("butane")[0]))
    features = internal_coordinates(make("butane")[0])
    features.check(torch.randn(4, 3))
    with pytest.raises(TopologyError, match="C4 4, C3 3, C2 2"):
        features.check(torch.from_numpy(x))
