"""Unbounded coordinates: a bijection with its volume, and hydrogens that cannot be told apart."""

import math
from typing import Any

import mdtraj
import pytest
import torch
from torch import Tensor

import bayescg as bcg
from bayescg.data import Frames
from bayescg.errors import ConfigError
from bayescg.features import UnboundedCoordinates, features_from_config, unbounded_coordinates


@pytest.fixture(scope="module")
def coordinates() -> UnboundedCoordinates:
    return unbounded_coordinates(bcg.systems.alanine_dipeptide("amber96", "obc1", 300.0)).double()


@pytest.fixture(scope="module")
def u(coordinates: UnboundedCoordinates) -> Tensor:
    return torch.randn(40, coordinates.size, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


def test_there_and_back(coordinates: UnboundedCoordinates, u: Tensor) -> None:
    x = coordinates.positions(u)
    torch.testing.assert_close(coordinates(x), u, atol=1e-7, rtol=0)
    torch.testing.assert_close(coordinates.positions(coordinates(x)), x, atol=1e-9, rtol=0)


def test_soft_torsions_and_methyl_groups_are_found(coordinates: UnboundedCoordinates) -> None:
    soft = [coordinates.names[i] for i in coordinates.soft]
    assert soft[:2] == ["phi ALA-2", "psi ALA-2"]
    assert len(soft) == 5
    assert sorted(map(sorted, coordinates.rotors)) == [[0, 2, 3], [11, 12, 13], [19, 20, 21]]


@pytest.mark.filterwarnings("ignore:`torch.jit")  # inside torch
def test_volume_is_that_of_the_map(coordinates: UnboundedCoordinates, u: Tensor) -> None:
    jacobian = torch.func.vmap(torch.func.jacfwd(coordinates.bounded))(u)
    wanted = torch.linalg.slogdet(jacobian)[1] + coordinates.internal.log_abs_det_jacobian(coordinates.bounded(u))
    torch.testing.assert_close(coordinates.log_abs_det_jacobian(u), wanted + 3 * math.log(3), atol=1e-9, rtol=0)


def test_a_standard_normal_soft_torsion_is_uniform(coordinates: UnboundedCoordinates) -> None:
    z = torch.randn(20_000, coordinates.size, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    phi, methyl = int(coordinates.soft[0]), int(coordinates.soft[2])
    angle = coordinates.internal(coordinates.positions(z))[:, phi]
    assert math.hypot(float(angle.cos().mean()), float(angle.sin().mean())) < 4 / math.sqrt(20_000)
    turned = torch.erf(z[:, methyl] / math.sqrt(2))  # of the window
    assert abs(float(turned.std()) - 1 / math.sqrt(3)) < 0.01


@pytest.mark.parametrize("turn", [[1, 2, 0], [2, 0, 1]])
def test_methyl_hydrogens_cannot_be_told_apart(coordinates: UnboundedCoordinates, u: Tensor, turn: list[int]) -> None:
    x = coordinates.positions(u)
    swapped = x.clone()
    for rotor in coordinates.rotors:
        swapped[:, rotor] = x[:, [rotor[k] for k in turn]]
    torch.testing.assert_close(coordinates(swapped), u, atol=1e-7, rtol=0)


def test_the_windows_ends_are_one_place(coordinates: UnboundedCoordinates) -> None:
    """Both for what a network reads and for the conformation."""
    ends = torch.zeros(2, coordinates.size, dtype=torch.float64)
    ends[:, coordinates.soft[:2]] = torch.tensor([[-8.0], [8.0]], dtype=torch.float64)
    seen = coordinates.readable(ends)
    assert seen.shape == (2, coordinates.size + len(coordinates.soft))
    torch.testing.assert_close(seen[0], seen[1], atol=1e-9, rtol=0)
    x = coordinates.positions(ends)
    torch.testing.assert_close(x[0], x[1], atol=1e-6, rtol=0)


def test_a_config_rebuilds_them(coordinates: UnboundedCoordinates, u: Tensor) -> None:
    again = features_from_config(coordinates.config()).double()
    assert isinstance(again, UnboundedCoordinates)
    torch.testing.assert_close(again.positions(u), coordinates.positions(u))
    torch.testing.assert_close(again.log_abs_det_jacobian(u), coordinates.log_abs_det_jacobian(u))


def test_what_makes_no_sense_is_refused(coordinates: UnboundedCoordinates) -> None:
    with pytest.raises(ConfigError, match="60 numbers"):
        UnboundedCoordinates(coordinates.internal, [1.0], [1.0])
    system = bcg.systems.alanine_dipeptide()
    broken = bcg.systems.System(lambda x: x.sum(-1) * math.nan, 66, temperature=300.0, topology=system.topology)
    broken.start = system.start  # pyright: ignore[reportAttributeAccessIssue]
    with pytest.raises(ConfigError, match="not finite"):
        unbounded_coordinates(broken)  # pyright: ignore[reportArgumentType]


@pytest.fixture(scope="module")
def heavy_frames() -> Frames:
    """Heavy atoms of alanine dipeptide with bonds, angles and torsions of known widths; psi all round the circle."""
    return _frames("not element H")


def _frames(select: str) -> Frames:
    system = bcg.systems.alanine_dipeptide()
    topology = mdtraj.Topology.from_openmm(system.topology)
    atoms: Any = topology.select(select)
    top, start = topology.subset(atoms), torch.as_tensor(system.start[atoms]).double()
    internal = bcg.features.internal_coordinates(top).double()
    generator = torch.Generator().manual_seed(0)
    width = torch.tensor([{"bond": 0.003, "angle": 0.05, "torsion": 0.1}[k] for k in internal.kinds]).double()
    y = internal(start) + width * torch.randn(500, internal.size, generator=generator, dtype=torch.float64)
    psi = internal.names.index("psi ALA-2")
    y[:, psi] = 2.5 * torch.rand(500, generator=generator, dtype=torch.float64) - 0.5  # seen in 40 % of the circle
    x = internal.positions(y).float().numpy()
    return Frames.from_numpy(x, unit="nm", temperature=300.0, topology=top)


def test_widths_of_frames_are_those_that_are_seen(heavy_frames: Frames) -> None:
    coordinates = unbounded_coordinates(heavy_frames).double()
    assert (coordinates.size, coordinates.rotors) == (24, [])
    assert [coordinates.names[i] for i in coordinates.soft] == ["psi ALA-2"]
    x = torch.as_tensor(heavy_frames.positions).double()
    u = coordinates(x)
    torch.testing.assert_close(torch.pdist(coordinates.positions(u)[0]), torch.pdist(x[0]), atol=1e-6, rtol=0)
    stiff = coordinates.stiff
    torch.testing.assert_close(u[:, stiff].std(0), torch.ones(23).double(), atol=0.03, rtol=0)
    assert u[:, stiff].mean(0).abs().max() < 0.2
    end = coordinates.middle[coordinates.soft] + math.pi  # of the window: where nothing is seen
    assert not -0.5 < float(torch.remainder(end + 0.5, 2 * math.pi) - 0.5) < 2.0


def test_hydrogens_of_frames_share_a_third_of_the_circle() -> None:
    frames = _frames("all")
    coordinates = unbounded_coordinates(frames).double()
    assert sorted(map(sorted, coordinates.rotors)) == [[0, 2, 3], [11, 12, 13], [19, 20, 21]]
    x = torch.as_tensor(frames.positions[:50]).double()
    swapped = x.clone()
    for rotor in coordinates.rotors:
        swapped[:, rotor] = x[:, [*rotor[1:], rotor[0]]]
    torch.testing.assert_close(coordinates(swapped), coordinates(x), atol=1e-7, rtol=0)
    placed = [int(row[0]) for row in coordinates.internal.zmatrix[3:]]
    leaders = [41 + placed.index(rotor[0]) for rotor in coordinates.rotors]
    assert coordinates(x)[:, leaders].abs().max() < 4.0  # methyl groups turn by less than their window
