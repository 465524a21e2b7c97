"""Force matching by neighbours of beads: invariances, handedness and its control, slopes, every uncertainty, files."""

import subprocess
import sys
from dataclasses import replace
from itertools import pairwise
from typing import Any

import mdtraj
import numpy as np
import pytest
import torch

import bayescg as bcg
from bayescg import nets
from bayescg.data import Frames
from bayescg.errors import ConfigError
from bayescg.features.torsions import torsion_sin_cos
from bayescg.models import ForceMatchingPotential

FEW: dict[str, Any] = {
    "steps": 3, "validation": 0.0, "batch_size": 64, "compile": "off", "uncertainty": "none", "progress": False,
}  # fmt: skip
HEIGHT = 5.0  # kJ/mol, two kT
SMALL: dict[str, Any] = {"form": "neighbours", "hidden": (8,), "noise": "constant"}

pytestmark = pytest.mark.filterwarnings("ignore:forces do not belong:UserWarning")  # these are of no equilibrium


class Blind(ForceMatchingPotential):
    """Negative control: the same network without its triple product."""

    def build(self, size: int) -> None:
        super().build(size)
        net: Any = self.correction
        width, blocks = self.hidden[0], len(self.hidden)
        self.correction = nets.ParticleEnergy(net.kinds, width, blocks, handed=False, activation=self.activation)


def topology(names: tuple[str, ...] = ("A", "B", "C", "D")) -> mdtraj.Topology:
    top = mdtraj.Topology()
    residue = top.add_residue("XXX", top.add_chain())
    beads = [top.add_atom(name, mdtraj.element.virtual, residue) for name in names]
    for a, b in pairwise(beads):
        top.add_bond(a, b)
    return top


def twisted(n: int, seed: int = 0) -> torch.Tensor:
    """Four beads under any torsion, bonds of .15 nm, ``(n, 4, 3)`` in double precision."""
    rng = torch.Generator().manual_seed(seed)
    phi = 2 * torch.pi * torch.rand(n, generator=rng, dtype=torch.float64)
    x = torch.zeros(n, 4, 3).double()
    x[:, 0] = torch.tensor([-0.05, 0.14, 0.0])
    x[:, 2, 0] = 0.15
    x[:, 3] = torch.stack([torch.full_like(phi, 0.2), 0.14 * phi.cos(), 0.14 * phi.sin()], -1)
    return x + 0.005 * torch.randn(n, 4, 3, generator=rng, dtype=torch.float64)


def sine(x: torch.Tensor) -> torch.Tensor:
    """The chiral energy, of ``(n, 4, 3)``."""
    return HEIGHT * torsion_sin_cos(x, torch.tensor([[0, 1, 2, 3]]))[0][:, 0]


def chiral(n: int = 400) -> Frames:
    x = twisted(n)
    forces = -torch.func.grad(lambda v: sine(v).sum())(x)
    return Frames.from_numpy(
        x.float().numpy(), unit="nm", temperature=300.0, topology=topology(), forces=forces.float().numpy()
    )


@pytest.fixture(scope="module")
def frames() -> Frames:
    return chiral()


@pytest.fixture(scope="module")
def fit(frames) -> bcg.Fit:
    return bcg.fit(ForceMatchingPotential(**SMALL), frames, **FEW)


def double(model: type[ForceMatchingPotential] = ForceMatchingPotential, names: Any = None, **more: Any) -> Any:
    """A model with random weights, in double precision."""
    frames = chiral(50) if names is None else replace(chiral(50), topology=topology(names))
    torch.manual_seed(0)
    built = model(**{**SMALL, "hidden": (8, 8), **more})
    built.setup(frames)
    built.reset()
    return built.double().requires_grad_(False)


def test_the_energy_is_that_of_the_shape_and_of_its_mirror_image_another():
    model, x = double(), twisted(5, seed=1)
    u = model.potential(x)
    assert float(u.std()) > 1e-3
    turn, _ = torch.linalg.qr(torch.randn(3, 3, generator=torch.Generator().manual_seed(1), dtype=torch.float64))
    turn = turn * torch.linalg.det(turn)
    assert torch.allclose(model.potential(x @ turn + torch.tensor([1.0, -2.0, 0.5])), u, rtol=0, atol=1e-10)
    mirror = x * torch.tensor([1.0, 1.0, -1.0])
    assert float((model.potential(mirror) - u).abs().min()) > 1e-4
    blind = double(Blind)
    assert torch.allclose(blind.potential(mirror), blind.potential(x), rtol=0, atol=1e-10)


def test_like_beads_may_be_exchanged():
    """Without springs, which are those of one order of the beads."""
    model, x = double(names=("A", "B", "A", "B"), prior=None), twisted(5, seed=2)
    assert model.kinds.tolist() == [0, 1, 0, 1]
    u = model.potential(x)
    assert torch.allclose(model.potential(x[:, [2, 1, 0, 3]]), u, rtol=0, atol=1e-10)
    assert not torch.allclose(model.potential(x[:, [1, 0, 2, 3]]), u, rtol=0, atol=1e-3)


def test_forces_are_slopes():
    model, x = double(), twisted(3, seed=3).flatten(1)
    forces, step = nets.forces_of(model.potential, x), 1e-5
    for k in range(12):
        away = torch.zeros(12).double().index_fill(0, torch.tensor(k), step)
        slope = (model.potential(x + away) - model.potential(x - away)) / (2 * step)
        assert torch.allclose(forces[:, k], -slope, rtol=1e-6, atol=1e-5)


def test_handedness_is_learned_and_not_without_the_triple_product():
    """An energy k sin(torsion), whose force no function of distances has a part of."""
    x = twisted(300, seed=4)
    exact = -torch.func.grad(lambda v: sine(v).sum())(x).flatten(1)
    errors = {}
    for model in (ForceMatchingPotential, Blind):
        fit = bcg.fit(model(**SMALL, prior=None), chiral(100), **{**FEW, "steps": 100, "learning_rate": 2e-2})
        forces = fit.system().forces(x.flatten(1))
        errors[model] = float((forces - exact).square().mean() / exact.square().mean())
    assert errors[ForceMatchingPotential] < 0.1
    assert errors[Blind] > 0.95


@pytest.mark.parametrize("uncertainty", ["laplace", "bootstrap", "ensemble", "mean-field"])
def test_draws_are_potentials(frames, uncertainty):
    some = frames.subset(np.arange(60))
    fit = bcg.fit(ForceMatchingPotential(**{**SMALL, "hidden": (4,)}), some, **{**FEW, "uncertainty": uncertainty})
    x = twisted(6, seed=5).float().flatten(1)
    energies = fit.system(draws=2).energy(x)
    assert torch.isfinite(energies).all()
    assert torch.allclose(energies[3:], fit.system(draw=1).energy(x[3:]), atol=1e-4)
    bands = bcg.analysis.force_bands(fit, frames.subset(np.arange(20)), draws=4)
    assert np.isfinite(bands.forces_sd).all()


def test_a_file_is_the_same_potential(fit, tmp_path):
    x = twisted(4, seed=6).float().flatten(1)
    fit.save(tmp_path / "fit")
    again = bcg.Fit.load(tmp_path / "fit")
    assert again.model.form == "neighbours"
    assert torch.equal(again.system().energy(x), fit.system().energy(x))


@pytest.mark.slow
def test_a_file_is_the_same_potential_in_another_process(fit, tmp_path):
    x = twisted(4, seed=6).float().flatten(1)
    fit.save(tmp_path / "fit")
    np.save(tmp_path / "x.npy", x.numpy())
    code = (
        "import sys, numpy as np, torch, bayescg as bcg; fit = bcg.Fit.load(sys.argv[1] + '/fit'); "
        "print(*fit.system().energy(torch.as_tensor(np.load(sys.argv[1] + '/x.npy'))).tolist())"
    )
    out = subprocess.run([sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True, check=True)
    assert [float(v) for v in out.stdout.split()] == pytest.approx(fit.system().energy(x).tolist(), rel=1e-6)


def test_openmm_computes_its_forces(fit):
    openmm = pytest.importorskip("openmm")
    x = twisted(1, seed=7)[0]
    system = openmm.System()
    for _ in range(4):
        system.addParticle(12.0)
    system.addForce(openmm.XmlSerializer.clone(bcg.export.to_openmm(fit)))
    context = openmm.Context(system, openmm.VerletIntegrator(0.001), openmm.Platform.getPlatformByName("Reference"))
    context.setPositions(x.numpy())
    state = context.getState(forces=True)
    expected = fit.system().forces(x.float().flatten()[None]).view(4, 3)
    got = torch.as_tensor(np.array(state.getForces(asNumpy=True)._value))
    assert torch.allclose(got.float(), expected, rtol=1e-3, atol=1e-3 * float(expected.abs().max()))


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"dim": 2}, "form='neighbours' is for beads, whose topology"),
        ({"hidden": (8, 16)}, "each convolution of neighbours has one width"),
        ({"hidden": ()}, "each convolution of neighbours has one width"),
    ],
)
def test_what_has_no_neighbours_is_refused(arguments, words):
    with pytest.raises(ConfigError, match=words):
        ForceMatchingPotential(**{"form": "neighbours", **arguments})


def test_flat_frames_have_no_neighbours():
    flat = Frames.from_numpy(np.zeros((9, 2)), unit="reduced", temperature_kT=1.0, forces=np.ones((9, 2)))
    with pytest.raises(ConfigError, match="flat coordinates have no neighbours"):
        bcg.fit(ForceMatchingPotential(form="neighbours"), flat, **FEW)
