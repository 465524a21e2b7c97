"""Internal coordinates: round trips, invariance, the volume element, gradients, precision."""

import itertools
import json
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.fx.experimental.proxy_tensor import make_fx

from bayescg.data import Frames
from bayescg.errors import ConfigError, TopologyError
from bayescg.features import LOG_ROTATIONS, InternalCoordinates, features_from_config, internal, internal_coordinates


def anywhere(features: InternalCoordinates, n: int = 8, seed: int = 2) -> Tensor:
    """Internal coordinates spread over their whole domain, but for angles near 0 and pi."""
    generator = torch.Generator().manual_seed(seed)
    u = torch.rand(n, features.size, generator=generator, dtype=torch.float64)
    low = {"bond": 0.08, "angle": 0.3, "torsion": -math.pi}
    width = {"bond": 0.2, "angle": math.pi - 0.6, "torsion": 2 * math.pi}
    column = lambda of: torch.tensor([of[kind] for kind in features.kinds], dtype=torch.float64)  # noqa: E731
    return column(low) + column(width) * u


def test_a_conformation_comes_back(case: Any, superposed: Any):
    _, x, features = case
    y = features(x)
    assert y.shape == (8, 3 * x.shape[1] - 6) == (8, features.size)
    assert (superposed(features.positions(y), x) - x).abs().max() < 1e-10


def test_coordinates_come_back(case: Any, apart: Any):
    _, _, features = case
    y = anywhere(features)
    assert apart(features, features(features.positions(y)), y).abs().max() < 1e-10


def test_domain_and_period(case: Any):
    _, x, features = case
    y = features(x)
    kinds = np.array(features.kinds)
    assert (y[:, kinds == "bond"] > 0).all()
    assert ((y[:, kinds == "angle"] > 0) & (y[:, kinds == "angle"] < math.pi)).all()
    assert (y[:, kinds == "torsion"].abs() <= math.pi).all()
    turned = y + 2 * math.pi * torch.tensor(kinds == "torsion").double()
    torch.testing.assert_close(features.positions(turned), features.positions(y), atol=1e-12, rtol=0)


def test_the_conformation_lies_in_its_own_frame(case: Any):
    _, x, features = case
    first, second, third = features.positions(features(x))[:, features.zmatrix[:3, 0]].unbind(1)
    assert not first.any()
    assert not second[:, 1:].any()
    assert (second[:, 0] > 0).all()
    assert (third[:, 1] > 0).all()
    assert not third[:, 2].any()


def test_rigid_motions_change_nothing(case: Any, rigid_motion: Callable[[Tensor], Tensor], apart: Any):
    _, x, features = case
    assert apart(features, features(rigid_motion(x)), features(x)).abs().max() < 1e-11


def test_a_mirror_image_changes_the_sign_of_torsions_only(case: Any, apart: Any):
    _, x, features = case
    sign = torch.tensor([-1.0 if kind == "torsion" else 1.0 for kind in features.kinds], dtype=torch.float64)
    assert apart(features, features(-x), sign * features(x)).abs().max() < 1e-11
    assert torch.equal(features.chirality(-x), -features.chirality(x))


def euler(angles: Tensor) -> Tensor:
    """Rotation about z, y and z; the invariant measure has the density sin(angles[1]), in all 8 pi^2."""

    def turn(angle: Tensor, i: int, j: int) -> Tensor:
        rows = [[torch.tensor(float(k == m), dtype=angle.dtype) for m in range(3)] for k in range(3)]
        rows[i][i] = rows[j][j] = angle.cos()
        rows[i][j], rows[j][i] = -angle.sin(), angle.sin()
        return torch.stack([torch.stack(row) for row in rows])

    a, b, c = angles
    return turn(a, 0, 1) @ turn(b, 2, 0) @ turn(c, 0, 1)


def test_the_volume_element_is_that_of_all_coordinates_with_rotation_and_shift(case: Any):
    _, _, features = case
    y = anywhere(features, 2)
    frame = torch.tensor([0.3, 1.1, -2.0, 0.5, -0.2, 0.8], dtype=torch.float64)

    def cartesian(everything: Tensor) -> Tensor:
        angles, shift, own = everything[:3], everything[3:6], everything[6:]
        return (features.positions(own) @ euler(angles).T + shift).flatten()

    for row in y:
        jacobian = torch.func.jacrev(cartesian)(torch.cat([frame, row]))
        expected = torch.linalg.slogdet(jacobian).logabsdet
        found = features.log_abs_det_jacobian(row) + frame[1].sin().log()
        assert abs(found - expected) < 1e-9


@pytest.mark.parametrize("name", ["water", "butane", "methane"])
def test_a_gaussian_cloud_is_normalised_in_internal_coordinates(name: str, make: Any):
    # Every atom ~ N(0, I). Shifts integrate to (2 pi / n)^(3/2), rotations to 8 pi^2; the rest is left to y.
    features = internal_coordinates(make(name)[0])
    atoms = features.atoms
    assert atoms is not None
    n, generator = 400_000, torch.Generator().manual_seed(3)
    draws = lambda *shape: torch.randn(*shape, generator=generator, dtype=torch.float64)  # noqa: E731
    # Proposal: r = |N(0, 1.7^2 I)|, density prop. to r^2; cos(theta) and phi uniform.
    s = 1.7
    r = s * draws(n, atoms - 1, 3).norm(dim=-1)
    u = torch.rand(n, 2 * atoms - 5, generator=generator, dtype=torch.float64)
    theta, phi = (1 - 2 * u[:, : atoms - 2]).acos(), math.pi * (2 * u[:, atoms - 2 :] - 1)
    y = torch.cat([r, theta, phi], dim=-1)
    log_q = (math.log(4 * math.pi) - 1.5 * math.log(2 * math.pi * s**2) + 2 * r.log() - r**2 / (2 * s**2)).sum(-1)
    log_q = log_q + (theta.sin() / 2).log().sum(-1) - (atoms - 3) * math.log(2 * math.pi)
    x = features.positions(y)
    spread = (x - x.mean(-2, keepdim=True)).square().sum((-2, -1))
    log_p = -1.5 * (atoms - 1) * math.log(2 * math.pi) - 1.5 * math.log(atoms) - spread / 2
    weight = (log_p + LOG_ROTATIONS + features.log_abs_det_jacobian(y) - log_q).exp()
    error = weight.std() / n**0.5
    assert error < 0.02
    assert abs(weight.mean() - 1) < 4 * error
    for power in (-r.log().sum(-1), theta.sin().log().sum(-1)):  # the control: another power of bonds or of angles
        wrong = weight * power.exp()
        assert abs(wrong.mean() - 1) > 20 * wrong.std() / n**0.5
    # Averages over y are those of the cloud: the mean squared distance of two atoms is 6.
    squared = weight * (x[:, 0] - x[:, -1]).square().sum(-1)
    assert abs(squared.mean() - 6) < 4 * squared.std() / n**0.5


@pytest.mark.parametrize("name", ["ACE-PRO-NME", "ethane", "bicycle", "water"])
def test_gradients_match_finite_differences(make: Any, name: str):
    top, x = make(name)
    features = internal_coordinates(top)
    x = x[0].clone().requires_grad_()
    y = features(x).detach().requires_grad_()
    assert torch.autograd.gradcheck(features, (x,), atol=1e-6, fast_mode=True)
    assert torch.autograd.gradcheck(features.positions, (y,), atol=1e-6, fast_mode=True)
    assert torch.autograd.gradcheck(features.log_abs_det_jacobian, (y,), atol=1e-6, fast_mode=True)
    assert torch.autograd.gradgradcheck(features.positions, (y,), atol=1e-5, fast_mode=True)


def test_single_precision(case: Any, apart: Any):
    _, x, features = case
    y = anywhere(features)
    x = features.positions(y)
    single = features.positions(y.float())
    assert single.dtype == torch.float32
    # Errors grow along the chain, with its length in nm: about 3 nm for the longest peptide.
    assert (single - x).abs().max() < 2e-6 * max(1.0, x.abs().max().item())
    assert features(x.float()).dtype == features.log_abs_det_jacobian(y.float()).dtype == torch.float32
    assert apart(features, features(x.float()).double(), y).abs().max() < 1e-4
    jacobian = features.log_abs_det_jacobian(y)
    torch.testing.assert_close(features.log_abs_det_jacobian(y.float()).double(), jacobian, rtol=1e-5, atol=0)


def test_every_batch_shape_gives_the_same(case: Any):
    _, x, features = case
    y, again = features(x), features.positions(features(x))
    shaped = x.reshape(2, 2, 2, -1, 3)
    torch.testing.assert_close(features(shaped).reshape(y.shape), y)
    torch.testing.assert_close(features.positions(features(shaped)).reshape(x.shape), again)
    torch.testing.assert_close(features.positions(y[3]), again[3])
    torch.testing.assert_close(features.log_abs_det_jacobian(y[3]), features.log_abs_det_jacobian(y)[3])
    assert features.log_abs_det_jacobian(features(shaped)).shape == (2, 2, 2)
    assert features.chirality(shaped).shape == (2, 2, 2, len(features.centre_names))
    assert features.positions(y[:0]).shape == (0, *x.shape[1:])
    torch.testing.assert_close(torch.func.vmap(features)(x), y)
    torch.testing.assert_close(torch.func.vmap(features.positions)(y), again)


OTHERS = ["ACE-ALA-NME", "ACE-LYS-ILE-GLY-THR-MET-NME", "water", "ethane", "butane", "cyclopropane", "bicycle"]


@pytest.mark.parametrize(
    "case", ["ACE-PRO-NME", "methane", *(pytest.param(n, marks=pytest.mark.slow) for n in OTHERS)], indirect=True
)
def test_recorded_once_it_holds_for_other_values(case: Any):
    _, x, features = case

    def everything(x: Tensor, shift: Tensor) -> tuple[Tensor, ...]:
        x = x.detach().requires_grad_()
        y = features(x)
        value = (features.positions(y + shift).square().sum() + features.log_abs_det_jacobian(y)).sum()
        return y, *torch.autograd.grad(value, x), features.chirality(x)

    shift = 0.01 * torch.ones(features.size, dtype=torch.float64)
    recorded = make_fx(everything)(x[:4], shift)
    for found, expected in zip(recorded(x[4:], 2 * shift), everything(x[4:], 2 * shift), strict=True):
        torch.testing.assert_close(found, expected)


def one_by_one(features: InternalCoordinates, y: np.ndarray) -> np.ndarray:
    """Atoms placed one after the other, by turning vectors."""
    atoms = len(features.labels)
    r, theta, phi = y[: atoms - 1], y[atoms - 1 : 2 * atoms - 3], y[2 * atoms - 3 :]
    x = np.full((atoms, 3), np.nan)

    def turned(v: np.ndarray, axis: np.ndarray, angle: float) -> np.ndarray:
        axis = axis / np.linalg.norm(axis)
        return v * np.cos(angle) + np.cross(axis, v) * np.sin(angle) + axis * (axis @ v) * (1 - np.cos(angle))

    for k, (i, b, a, d) in enumerate(features.zmatrix.tolist()):
        if k == 0:
            x[i] = 0.0
        elif k == 1:
            x[i] = [r[0], 0.0, 0.0]
        else:
            before = np.array([0.0, 1.0, 0.0]) if k == 2 else x[d] - x[a]  # the torsion of the third is zero
            axis = x[b] - x[a]
            # From a, in the plane of d and at the angle theta; then about the bond.
            planar = turned(-axis / np.linalg.norm(axis), np.cross(axis, before), -theta[k - 2])
            x[i] = x[b] + r[k - 1] * (planar if k == 2 else turned(planar, axis, phi[k - 3]))
    return x


def test_levels_place_what_one_atom_after_the_other_does(case: Any, monkeypatch: pytest.MonkeyPatch):
    _, _, features = case
    y, count = anywhere(features), itertools.count()
    place = internal._place
    monkeypatch.setattr(internal, "_place", lambda *given: (next(count), place(*given))[1])
    x = features.positions(y)
    assert next(count) == features.levels
    for row, positions in zip(y.numpy(), x.numpy(), strict=True):
        np.testing.assert_allclose(positions, one_by_one(features, row), atol=1e-12)


def test_a_planar_trans_torsion_is_pi_and_not_minus_pi(make: Any):
    features = internal_coordinates(make("butane")[0])
    for sign in (1.0, -1.0):
        x = torch.tensor([[0.0, 0.1, 0.0], [0.0, 0.0, 0.0], [0.15, 0.0, 0.0], [0.15, -0.1, -0.0]]) * sign
        assert features(x)[-1] == torch.tensor(math.pi)


def test_torsions_around_those_of_a_conformation(make: Any, apart: Any):
    top, x = make("ACE-LYS-ILE-GLY-THR-MET-NME")
    plain = internal_coordinates(top)
    features = internal_coordinates(top, around=x[0].numpy())
    y = features(x)
    assert apart(features, y, plain(x)).abs().max() < 1e-12
    torsion = torch.tensor([kind == "torsion" for kind in features.kinds])
    # The same torsions, but none of these little disturbed conformations crosses the end of the range; trans ones did.
    assert (y - y[0])[:, torsion].abs().max() < 2.0
    assert (plain(x) - plain(x)[0])[:, torsion].abs().max() > 5.0
    far = features(features.positions(anywhere(features)))
    assert (far - y[0])[:, torsion].abs().max() <= math.pi + 1e-6  # the middle is kept in single precision
    torch.testing.assert_close(features.positions(y), plain.positions(plain(x)), atol=1e-12, rtol=0)
    again = features_from_config(json.loads(json.dumps(features.config())))
    assert isinstance(again, InternalCoordinates)
    assert (again.config(), again.names) == (features.config(), features.names)
    assert torch.equal(again(x), y)
    assert torch.equal(again.positions(y), features.positions(y))
    assert torch.autograd.gradcheck(features, (x[1].clone().requires_grad_(),), atol=1e-6, fast_mode=True)
    with pytest.raises(TopologyError, match=r"instead of \(91, 3\)"):
        internal_coordinates(top, around=np.zeros((3, 3)))
    with pytest.raises(ConfigError, match="1 finite torsions"):
        InternalCoordinates(list("abcd"), [[0], [1, 0], [2, 1, 0], [3, 2, 1, 0]], around=[0.0, 0.0])


def test_sizes_are_checked(make: Any):
    features = internal_coordinates(make("butane")[0])
    for refused in (features.positions, features.log_abs_det_jacobian):
        with pytest.raises(TopologyError, match="6 numbers"):
            refused(torch.zeros(2, 7))
    with pytest.raises(TopologyError, match="4 atoms"):
        features(torch.zeros(2, 5, 3))


def test_a_model_reads_and_writes_them(make: Any, apart: Any):
    from bayescg.models import PredictiveCV

    top, x = make("ACE-ALA-NME")
    features = internal_coordinates(top, around=x[0].numpy())
    frames = Frames.from_numpy(x.numpy(), unit="nm", temperature=300.0, topology=top)
    model = PredictiveCV(features, latent_dim=1, hidden=(4,))
    model.setup(frames)
    y = model.inputs(x.float())
    generated = model.positions(y)
    assert generated.shape == (8, 22, 3)
    torch.testing.assert_close(apart(features, features(generated), y), torch.zeros_like(y), atol=1e-3, rtol=0)
    again = PredictiveCV.from_config(json.loads(json.dumps(model.config())))
    assert again.features is not None
    assert again.features.config() == features.config()
