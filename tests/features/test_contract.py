"""What every kind of features promises: size, names, shapes, types, gradients, an exact config, export."""

import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.fx.experimental.proxy_tensor import make_fx

import bayescg as bcg
from bayescg.errors import ConfigError, TopologyError
from bayescg.features import Features, HasPositions, features_from_config

ATOMS = 22
QUADRUPLES = [(4, 6, 8, 14), (0, 1, 4, 5)]
MAKERS: dict[str, Callable[[Path], Features]] = {
    "cartesian": bcg.features.cartesian,
    "beads": lambda top: bcg.features.beads(top, ["C ACE", "resid 1", [16, 18]]),
    "aligned": bcg.features.aligned,
    "aligned-all": lambda top: bcg.features.aligned(top, select="all"),
    "contacts": lambda top: bcg.features.contacts(
        top, select="name CA or name N or name O", box=[[3.0, 0, 0], [1.0, 3.0, 0], [0, 1.0, 3.0]]
    ),
    "native": lambda top: bcg.features.Contacts(22, [(0, 20), (5, 15)], ["a", "b"], [0.8, 0.4], 30.0, mean=True),
    "distances": bcg.features.distances,
    "internal": bcg.features.internal_coordinates,
    "invariants": bcg.features.invariants,
    "torsions": bcg.features.torsions,
    "quadruples": lambda top: bcg.features.torsions(top, QUADRUPLES),
    "chain": lambda top: bcg.features.chain(
        bcg.features.torsions(top), bcg.features.distances(top, pairs=[(1, 18)]), bcg.features.aligned(top)
    ),
}
DEAR = ("aligned-all", "chain")
"""Made of what others are made of: derivatives of all that they do are slow."""
INVARIANT = [name for name in MAKERS if name not in ("cartesian", "beads")]


@pytest.fixture(params=MAKERS)
def features(request: pytest.FixtureRequest, pdb: Path) -> Features:
    return MAKERS[request.param](pdb)


@pytest.fixture(params=[pytest.param(m, marks=pytest.mark.slow) if m in DEAR else m for m in MAKERS])
def cheap(request: pytest.FixtureRequest, pdb: Path) -> Features:
    return MAKERS[request.param](pdb)


@pytest.fixture(params=INVARIANT)
def invariant(request: pytest.FixtureRequest, pdb: Path) -> Features:
    return MAKERS[request.param](pdb)


def scalar(features: Features, x: Tensor) -> Tensor:
    """A fixed nonlinear function of all features."""
    weights = torch.linspace(-1.0, 1.0, features.size, dtype=x.dtype)
    return (weights * features(x) + features(x).square()).sum()


def gradient(features: Features, x: Tensor) -> Tensor:
    x = x.detach().requires_grad_()
    return torch.autograd.grad(scalar(features, x), x)[0]


def test_size_and_names(features: Features, conformations: Tensor):
    assert features.atoms == ATOMS
    assert features(conformations).shape == (8, features.size)
    assert len(features.names) == len(set(features.names)) == features.size


def test_every_batch_shape_gives_the_same(features: Features, conformations: Tensor):
    y = features(conformations)
    torch.testing.assert_close(features(conformations.reshape(2, 2, 2, ATOMS, 3)).reshape(8, -1), y)
    torch.testing.assert_close(features(conformations[3]), y[3])
    assert features(conformations[:0]).shape == (0, features.size)


def test_vmap_gives_the_same(features: Features, conformations: Tensor):
    torch.testing.assert_close(torch.func.vmap(features)(conformations), features(conformations))


def test_type_follows_the_input(features: Features, conformations: Tensor):
    single = features(conformations.float())
    assert single.dtype == torch.float32
    assert features(conformations).dtype == torch.float64
    # Of the same, rounded positions: rounding alone moves torsions of these bent conformations by 2e-5.
    torch.testing.assert_close(single.double(), features(conformations.float().double()), atol=3e-6, rtol=0)


def test_float32_gradients_are_those_of_float64(features: Features, conformations: Tensor):
    exact = gradient(features, conformations)
    single = gradient(features, conformations.float()).double()
    assert (single - exact).abs().max() < 1e-4 * exact.abs().max()


def test_gradients_match_finite_differences(cheap: Features, conformations: Tensor):
    x = conformations[:2].clone().requires_grad_()
    assert torch.autograd.gradcheck(cheap, (x,), atol=1e-7)


def test_second_derivatives_match_finite_differences(features: Features, conformations: Tensor):
    x = conformations[:1].clone().requires_grad_()
    # along random directions: all 66 one after the other take seconds
    assert torch.autograd.gradgradcheck(lambda x: scalar(features, x), (x,), atol=1e-6, fast_mode=True)


@pytest.mark.filterwarnings("ignore:`torch.jit")  # inside torch
def test_forward_mode_gives_the_same_jacobian(features: Features, conformations: Tensor):
    x = conformations[0]
    torch.testing.assert_close(torch.func.jacfwd(features)(x), torch.func.jacrev(features)(x))


def test_invariant_to_rigid_motions(
    invariant: Features, conformations: Tensor, rigid_motion: Callable[[Tensor], Tensor]
):
    torch.testing.assert_close(invariant(rigid_motion(conformations)), invariant(conformations))


def test_cartesian_is_the_control_that_is_not_invariant(
    pdb: Path, conformations: Tensor, rigid_motion: Callable[[Tensor], Tensor]
):
    features = bcg.features.cartesian(pdb)
    assert (features(rigid_motion(conformations)) - features(conformations)).abs().max() > 0.1


def test_gradients_are_orthogonal_to_rigid_motions(invariant: Features, conformations: Tensor):
    force = gradient(invariant, conformations)
    torque = torch.linalg.cross(conformations, force).sum(-2)
    assert force.abs().max() > 0.1
    assert force.sum(-2).abs().max() < 1e-9
    assert torque.abs().max() < 1e-9


def test_traced_gradients_hold_for_other_positions(cheap: Features, conformations: Tensor):
    # What compiled training does: trace value and gradient once, replay on other frames.
    graph = make_fx(lambda x: gradient(cheap, x))(conformations[:4])
    torch.testing.assert_close(graph(conformations[4:]), gradient(cheap, conformations[4:]))


# TorchScript is what PLUMED reads; torch says that it would rather have another format.
@pytest.mark.filterwarnings("ignore:`torch.jit")
def test_torchscript_export_keeps_value_and_gradient(features: Features, conformations: Tensor):
    buffer = io.BytesIO()
    torch.jit.save(torch.jit.trace(features, conformations[:2]), buffer)
    buffer.seek(0)
    loaded = torch.jit.load(buffer)
    x = conformations[3:].clone().requires_grad_()
    torch.testing.assert_close(loaded(x), features(x))
    pulled = torch.autograd.grad(loaded(x).square().sum(), x)[0]
    torch.testing.assert_close(pulled, torch.autograd.grad(features(x).square().sum(), x)[0])


def test_config_survives_json_exactly(features: Features, conformations: Tensor):
    config = features.config()
    again = features_from_config(json.loads(json.dumps(config)))
    assert type(again) is type(features)
    assert again.config() == config
    assert again.names == features.names
    assert torch.equal(again(conformations), features(conformations))


def test_constants_are_buffers_and_not_state(features: Features):
    assert not features.state_dict()
    assert not list(features.parameters())
    moved = features.to("meta")
    assert all(buffer.device.type == "meta" for buffer in moved.buffers())


def test_wrong_number_of_atoms_names_both(features: Features, conformations: Tensor):
    with pytest.raises(TopologyError, match=r"22 atoms.* 21") as caught:
        features(conformations[:, :21])
    assert "topology" in str(caught.value)


@pytest.mark.parametrize("shape", [(8, 66), (66,), (8, 22, 2), (22,)])
def test_not_positions_is_refused(features: Features, shape: tuple[int, ...]):
    with pytest.raises(TopologyError, match=r"22, 3\)"):
        features(torch.zeros(shape))


def test_only_coordinates_have_positions(pdb: Path):
    have = {name for name, make in MAKERS.items() if isinstance(make(pdb), HasPositions)}
    assert have == {"cartesian", "aligned", "aligned-all", "internal"}
    assert not isinstance(bcg.features.cartesian(2), HasPositions)


@pytest.mark.filterwarnings("ignore:`torch.jit")
def test_flat_coordinates_of_a_toy_system():
    features = bcg.features.cartesian(3)
    x = torch.randn(4, 5, 3)
    assert torch.equal(features(x), x)
    exported: Any = torch.jit.trace(features, x)
    assert torch.equal(exported(x), x)
    assert (features.size, features.atoms, features.names) == (3, None, ["x1", "x2", "x3"])
    assert features_from_config(features.config()).config() == {"type": "Flat", "dim": 3}
    with pytest.raises(TopologyError, match="3 flat coordinates"):
        features(torch.zeros(4, 2))
    with pytest.raises(ConfigError, match="at least one"):
        bcg.features.cartesian(0)


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"type": "os.system"}, "known are Aligned, Beads, Cartesian, Chain"),
        ({}, "unknown type of features None"),
        ({"type": "Flat"}, "not the config of Flat"),
        ({"type": "Flat", "dim": 2, "code": "x"}, "not the config of Flat"),
        ({"type": "Chain"}, "not the config of Chain"),
        ({"type": "Distances", "atoms": 2, "pairs": [[0, 1]], "labels": []}, "1 pairs of atoms have 0 labels"),
        ({"type": "Torsions", "atoms": 4, "quadruples": [[0, 1, 2, 4]], "labels": ["a"]}, "a system of 4 atoms"),
    ],
)
def test_a_config_that_is_none_is_refused(config: dict[str, Any], message: str):
    with pytest.raises((ConfigError, TopologyError), match=message):
        features_from_config(config)


def test_a_chain_is_its_parts(pdb: Path, conformations: Tensor):
    parts = [bcg.features.torsions(pdb), bcg.features.distances(pdb, select="name CA or name N")]
    chained = bcg.features.chain(*parts)
    assert chained.names == parts[0].names + parts[1].names
    assert torch.equal(chained(conformations), torch.cat([part(conformations) for part in parts], dim=-1))
    with pytest.raises(ConfigError, match="at least one"):
        bcg.features.chain()
    with pytest.raises(TopologyError, match="Torsions: 22, Flat: None"):
        bcg.features.chain(parts[0], bcg.features.cartesian(2))


def test_unused_atoms_do_not_matter(pdb: Path, conformations: Tensor):
    # Methyl hydrogens may be exchanged, or be anywhere.
    exchanged = torch.arange(ATOMS)
    exchanged[[11, 12, 13]] = torch.tensor([13, 11, 12])
    moved = conformations.clone()
    moved[:, 11:14] += torch.from_numpy(np.random.default_rng(0).normal(size=(8, 3, 3)))
    for make in (bcg.features.torsions, bcg.features.distances):
        features = make(pdb)
        for other in (conformations[:, exchanged], moved):
            assert torch.equal(features(other), features(conformations))
    aligned = bcg.features.aligned(pdb)
    y, other = (aligned.positions(aligned(x)) for x in (conformations, moved))
    kept = [i for i in range(ATOMS) if not 11 <= i < 14]
    torch.testing.assert_close(other[:, kept], y[:, kept])
    assert (other[:, 11:14] - y[:, 11:14]).abs().max() > 0.1
