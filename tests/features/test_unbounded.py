"""Unbounded coordinates: a bijection with its volume, and hydrogens that cannot be told apart."""

import math

import pytest
import torch
from torch import Tensor

import bayescg as bcg
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


@pytest.mark.filterwarnings("ignore:`torch.jit:DeprecationWarning")  # inside torch
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
