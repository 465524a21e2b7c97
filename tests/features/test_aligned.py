"""Superposition: against mdtraj, the derivative of the rotation, mirror images, degenerate conformations."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import mdtraj
import numpy as np
import pytest
import torch
from torch import Tensor

import bayescg as bcg
from bayescg.errors import ConfigError, TopologyError
from bayescg.features import Aligned, coordinates
from bayescg.features.superpose import optimal_rotation


def random_rotations(n: int, seed: int = 0) -> Tensor:
    q = torch.linalg.qr(torch.randn(n, 3, 3, generator=torch.Generator().manual_seed(seed), dtype=torch.float64))[0]
    return q * torch.det(q)[:, None, None]


def test_matches_mdtraj(pdb: Path, molecule: Any, frames: Any):
    features = bcg.features.aligned(pdb)
    heavy = molecule.topology.select("not element H")
    reference = molecule[0]
    expected = mdtraj.Trajectory(frames.xyz.copy(), frames.topology).superpose(reference, atom_indices=heavy).xyz
    centre = reference.xyz[0][heavy].mean(axis=0)
    ours = features.positions(features(torch.from_numpy(frames.xyz))).numpy()
    np.testing.assert_allclose(ours, expected - centre, atol=1e-5)


def test_no_rotation_is_better(pdb: Path, conformations: Tensor):
    features = bcg.features.aligned(pdb)
    reference = features.reference.double()[features.fitted]
    reference = reference - reference.mean(0)
    y = features.positions(features(conformations))[:, features.fitted]
    best = (y - reference).square().sum((-2, -1))
    for turn in random_rotations(200):
        assert ((y @ turn.T - reference).square().sum((-2, -1)) >= best - 1e-12).all()


def test_a_turned_reference_comes_back(pdb: Path):
    features = bcg.features.aligned(pdb)
    reference = features.reference.double()
    reference = reference - reference[features.fitted].mean(0)
    turned = reference @ random_rotations(50).mT + 3.0
    torch.testing.assert_close(features.positions(features(turned)), reference.expand(50, -1, -1), atol=1e-7, rtol=0)


def test_the_gradient_contains_the_derivative_of_the_rotation(
    pdb: Path, conformations: Tensor, monkeypatch: pytest.MonkeyPatch
):
    features = bcg.features.aligned(pdb)
    x = conformations[:1].clone().requires_grad_()
    assert torch.autograd.gradcheck(features, (x,), atol=1e-7)
    # Control: the same check refuses a rotation that is treated as a constant.
    monkeypatch.setattr(coordinates, "optimal_rotation", lambda h: optimal_rotation(h).detach())
    assert not torch.autograd.gradcheck(features, (x,), atol=1e-7, raise_exception=False)


def test_a_mirror_image_stays_one(pdb: Path, molecule: Any):
    features = bcg.features.aligned(pdb)
    x = torch.from_numpy(molecule.xyz[0]).double()
    mirrored = x * torch.tensor([1.0, 1.0, -1.0])
    y, image = features.positions(features(x)), features.positions(features(mirrored))
    # L-alanine does not become D-alanine's mirror image: some heavy atom stays far from where it was.
    heavy = features.fitted
    assert (image - y)[heavy].square().sum(-1).mean().sqrt() > 0.03
    chirality = [torch.linalg.det(p[[6, 10, 14]] - p[8]) for p in (x, y, mirrored, image)]
    torch.testing.assert_close(chirality[0], chirality[1])
    torch.testing.assert_close(chirality[2], chirality[3])
    assert chirality[0] * chirality[2] < 0


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_rotations_are_proper_for_any_covariance(dtype: torch.dtype):
    h = torch.randn(500, 3, 3, generator=torch.Generator().manual_seed(1), dtype=dtype)
    h = torch.cat([h, h * 1e-8, h * 1e8, -h])
    rotation = optimal_rotation(h)
    eye = torch.eye(3, dtype=dtype).expand_as(rotation)
    # Of no unit, and so as exact for a covariance of any size.
    torch.testing.assert_close(rotation @ rotation.mT, eye, atol=20 * torch.finfo(dtype).eps, rtol=0)
    assert (torch.det(rotation) > 0.99).all()
    u, s, vh = torch.linalg.svd(h.double())
    sign = torch.det(u @ vh)
    best = s[:, 0] + s[:, 1] + sign * s[:, 2]
    reached = (rotation.double() @ h.double()).diagonal(dim1=-2, dim2=-1).sum(-1)
    torch.testing.assert_close(reached / s[:, 0], best / s[:, 0], atol=10 * torch.finfo(dtype).eps, rtol=0)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("shape", ["line", "plane", "point", "mirror", "reference"])
def test_degenerate_conformations_give_finite_values_and_gradients(pdb: Path, shape: str, dtype: torch.dtype):
    features = bcg.features.aligned(pdb)
    x = features.reference.to(dtype).clone()
    scale = {
        "line": [1.0, 0.0, 0.0],
        "plane": [1.0, 1.0, 0.0],
        "point": [0.0, 0.0, 0.0],
        "mirror": [-1.0, -1.0, -1.0],
        "reference": [1.0, 1.0, 1.0],
    }[shape]
    x = (x * torch.tensor(scale, dtype=dtype)).requires_grad_()
    y = features(x)
    (y * torch.linspace(-1, 1, 66, dtype=dtype)).sum().backward()
    assert y.isfinite().all()
    assert x.grad is not None
    assert x.grad.isfinite().all()


def test_planar_molecules_have_exact_gradients(pdb: Path):
    # The reference and the conformation may both be flat: the best rotation is still unique.
    generator = torch.Generator().manual_seed(3)
    flat = torch.randn(5, 3, generator=generator, dtype=torch.float64) * torch.tensor([1.0, 0.6, 0.0])
    features = Aligned(list("abcde"), flat, range(5))
    x = (flat @ random_rotations(1)[0].T).requires_grad_()
    assert torch.autograd.gradcheck(features, (x,), atol=1e-6)


def test_reference_from_each_source_is_the_same(pdb: Path, molecule: Any, conformations: Tensor):
    expected = bcg.features.aligned(pdb)(conformations)
    first = torch.from_numpy(molecule.xyz[0])
    for top, reference in [
        (molecule, None),
        (str(pdb), None),
        (molecule.topology, first),
        (molecule.topology.to_openmm(), molecule.xyz[0]),
        (molecule.topology, molecule.openmm_positions(0)),
        (bcg.data.Frames.from_numpy(molecule.xyz, unit="nm", topology=molecule.topology), None),
    ]:
        found = bcg.features.aligned(top, reference)(conformations)
        torch.testing.assert_close(
            found, expected, rtol=0, atol=1e-13
        )  # where an array lies in memory moves the last bit


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"reference": np.zeros((21, 3))}, TopologyError, r"\(21, 3\) instead of \(22, 3\)"),
        ({"reference": np.full((22, 3), np.nan)}, TopologyError, "not finite at atom 1"),
        ({"reference": np.outer(np.arange(22.0), [1, 2, 3]) / 100}, TopologyError, "on a line"),
        (
            {"reference": np.outer(np.arange(22.0), [1, 2, 3])},
            TopologyError,
            "ACE1-CH3 and ACE1-C are bonded and 11.22 nm",
        ),
        ({"select": "name CA"}, TopologyError, "at least three"),
        ({"select": "name XX"}, TopologyError, "names none of the 22 atoms"),
        ({"select": "nam CA !!"}, ConfigError, "not understood"),
    ],
)
def test_what_cannot_be_aligned_is_refused(
    pdb: Path, arguments: dict[str, object], error: type[Exception], message: str
):
    with pytest.raises(error, match=message):
        bcg.features.aligned(pdb, **arguments)  # pyright: ignore[reportArgumentType]


def test_a_topology_without_coordinates_needs_a_reference(molecule: Any):
    with pytest.raises(ConfigError, match="give reference="):
        bcg.features.aligned(molecule.topology)


@pytest.mark.filterwarnings("ignore:unclosed file:ResourceWarning")  # mdtraj, where it cannot read
@pytest.mark.parametrize("make", [bcg.features.aligned, bcg.features.cartesian, bcg.features.torsions])
def test_what_carries_no_topology_is_refused(make: Callable[[object], object], tmp_path: Path):
    broken = tmp_path / "broken.pdb"
    broken.write_text("nothing\n")
    toy = bcg.data.Frames.from_numpy(np.zeros((3, 2)), unit="reduced")
    for top, message in [
        (tmp_path / "absent.pdb", "no such file"),
        (broken, "broken.pdb"),
        (toy, "Frames carries no topology"),
        (None, "NoneType carries no topology"),
    ]:
        with pytest.raises(TopologyError, match=message):
            make(top)
