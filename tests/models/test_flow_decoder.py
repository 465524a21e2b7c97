"""PredictiveCV with a flow for a decoder: exact densities, conformations, and CVs that the flow leaves alone."""

import copy
import math
from itertools import pairwise
from typing import Any

import mdtraj
import numpy as np
import pytest
import torch
from pyro import poutine
from torch.distributions import Normal

import bayescg as bcg
from bayescg import nets
from bayescg.analysis.comparing.conformations import log_volume
from bayescg.data import Frames
from bayescg.errors import ConfigError, ModelError, TopologyError
from bayescg.models import PredictiveCV


def curve_frames(n: int, seed: int) -> tuple[Frames, float]:
    """Two coordinates, the width of one of which the other changes; and the mean of their exact log density."""
    rng = np.random.default_rng(seed)
    first = rng.normal(size=n)
    width = 0.1 * np.exp(0.7 * first)
    noise = rng.normal(size=n)
    x = np.stack([first, first**2 / 2 + width * noise], 1)
    exact = -0.5 * (first**2 + noise**2) - np.log(2 * np.pi * width)
    return Frames.from_numpy(x, unit="reduced", temperature_kT=1.0), float(exact.mean())


@pytest.fixture(scope="module")
def decoded():
    """Fits of a flow and of a Gaussian decoder, frames held out and the mean of their exact log density."""
    train, _ = curve_frames(2000, 0)
    test, exact = curve_frames(500, 1)
    sizes = {"latent_dim": 1, "hidden": (16,), "layers": 2, "bins": 6}
    settings = {"steps": 300, "batch_size": 256, "uncertainty": "none", "learning_rate": 0.01, "validation": 0.0}
    fits = {d: bcg.fit(PredictiveCV(**sizes, decoder=d), train, **settings) for d in ("flow", "gaussian")}
    return fits, test, exact


def test_a_flow_is_the_density_where_a_gaussian_decoder_is_not(decoded):
    fits, test, exact = decoded
    flow, gaussian = (float(fits[d].log_density(test).mean()) for d in ("flow", "gaussian"))
    assert exact - 0.1 < flow < exact + 0.03  # an estimate above the truth would be no density
    assert gaussian < exact - 0.2
    assert fits["flow"].guide_quality(test.subset(slice(0, 100)))["pareto_k"] < 0.7


def test_a_flow_generates_the_frames(decoded):
    fits, test, _ = decoded
    x, seen = fits["flow"].generate(20_000)[0].double().numpy(), np.asarray(test.positions)
    for moment in (
        lambda y: y[:, 0],
        lambda y: y[:, 1],
        lambda y: y[:, 0] ** 2,
        lambda y: (y[:, 1] - y[:, 0] ** 2 / 2) ** 2,
    ):
        error = moment(seen).std() / len(seen) ** 0.5
        assert abs(moment(x).mean() - moment(seen).mean()) < 4 * error + 0.05 * abs(moment(seen).mean())


def gradient_of_the_cvs(model: PredictiveCV, x: torch.Tensor) -> torch.Tensor:
    """Of minus the bound, at the encoder's weights, from fixed random numbers."""
    batch = bcg.Batch(x=x, total=len(x))
    torch.manual_seed(1)
    guide = poutine.trace(model.guide).get_trace(batch)
    weights = poutine.condition(model.model, data=dict(model.named_parameters()))  # those that a prior is of
    bound: Any = poutine.trace(poutine.replay(weights, guide)).get_trace(batch).log_prob_sum()
    bound = bound - guide.log_prob_sum()
    gradients = torch.autograd.grad(bound, list(model.encoder.parameters()))
    return torch.cat([g.flatten() for g in gradients])


def test_a_flow_moves_no_cv(decoded):
    """What the CVs learn is the same whatever the flow is, and what they learn from a Gaussian decoder."""
    fits, test, _ = decoded
    model, x = copy.deepcopy(fits["flow"].model), torch.as_tensor(test.positions)[:100]
    before = gradient_of_the_cvs(model, x)
    with torch.no_grad():
        for p in model.back.parameters():
            p.add_(0.1 * torch.randn_like(p))
    torch.testing.assert_close(gradient_of_the_cvs(model, x), before, rtol=1e-4, atol=1e-4 * float(before.abs().max()))
    gaussian = PredictiveCV(latent_dim=1, hidden=(16,), dim=2).double()
    gaussian.encoder.narrowest = model.encoder.narrowest
    state = gaussian.state_dict()
    gaussian.load_state_dict({k: v for k, v in model.state_dict().items() if k in state})
    torch.testing.assert_close(
        gradient_of_the_cvs(gaussian, x), before, rtol=1e-3, atol=1e-3 * float(before.abs().max())
    )


@pytest.fixture(scope="module")
def dipeptide():
    """Heavy atoms of alanine dipeptide, moved at random along bonds, angles and torsions; rotated at random."""
    system = bcg.systems.alanine_dipeptide()
    topology = mdtraj.Topology.from_openmm(system.topology)
    heavy: Any = topology.select("not element H")
    top, start = topology.subset(heavy), torch.as_tensor(system.start[heavy]).double()
    internal = bcg.features.internal_coordinates(top).double()
    generator = torch.Generator().manual_seed(2)
    kinds = internal.kinds
    width = torch.tensor([{"bond": 0.003, "angle": 0.05, "torsion": 0.08}[k] for k in kinds], dtype=torch.float64)
    y = internal(start) + width * torch.randn(400, len(kinds), generator=generator, dtype=torch.float64)
    psi = internal.names.index("psi ALA-2")
    y[:, psi] += 2.5 * (torch.rand(400, generator=generator) < 0.4)
    turns = torch.linalg.qr(torch.randn(400, 3, 3, generator=generator, dtype=torch.float64))[0]
    turns = turns * torch.linalg.det(turns)[:, None, None]
    x = (internal.positions(y) @ turns.mT + torch.randn(400, 1, 3, generator=generator)).float().numpy()
    return Frames.from_numpy(x, unit="nm", temperature=300.0, topology=top), bcg.features.aligned(top, start.numpy())


@pytest.fixture(scope="module")
def conformations(dipeptide):
    frames, features = dipeptide
    model = PredictiveCV(features, latent_dim=1, hidden=(8,), decoder="flow", layers=2, bins=4)
    return bcg.fit(model, frames, steps=60, batch_size=100, uncertainty="none", learning_rate=0.01)


def test_a_flow_generates_conformations(conformations, dipeptide):
    frames, _ = dipeptide
    x = conformations.generate(200)[0]
    assert x.shape == (200, 10, 3)
    internal = bcg.features.internal_coordinates(frames.topology)
    made, seen = internal(x), internal(torch.as_tensor(frames.positions))
    bonds = slice(0, 9)
    torch.testing.assert_close(made[:, bonds].mean(0), seen[:, bonds].mean(0), atol=0.002, rtol=0)
    assert (made[:, bonds].std(0) < 0.006).all()


def test_the_density_is_that_of_conformations_whatever_the_scales(conformations, dipeptide):
    """Not of the frame that they were read in, and less the volume of the coordinates that the flow is over."""
    frames, _ = dipeptide
    few = frames.subset(slice(0, 20))
    density = conformations.log_density(few)[0]
    turn = torch.linalg.qr(torch.randn(3, 3, generator=torch.Generator().manual_seed(5)))[0]
    turned = torch.as_tensor(few.positions) @ (turn * torch.det(turn)).T + 0.4
    torch.testing.assert_close(conformations.log_density(turned)[0], density, atol=0.02, rtol=0)
    assert not np.any(log_volume(conformations, few))  # none is left to take off
    back = conformations.model.back
    z, y = torch.zeros(20, 1), conformations.model.inputs(torch.as_tensor(few.positions))
    u = back.coordinates(back.features.positions(y))
    with torch.no_grad():
        over = back.flow(z).log_prob(u)
        torch.testing.assert_close(back(z).log_prob(y), over - back.coordinates.log_abs_det_jacobian(u))
    assert back.coordinates.log_abs_det_jacobian(u).abs().min() > 10  # which is no detail


def test_torsions_come_first_and_the_rest_given_them():
    """Weights of draws of one density for another are 1 on average where both are densities; bonds read torsions."""
    generator = torch.Generator().manual_seed(3)
    top = mdtraj.Topology()
    residue = top.add_residue("PEN", top.add_chain())
    atoms = [top.add_atom(f"C{i}", mdtraj.element.carbon, residue) for i in range(5)]
    for a, b in pairwise(atoms):
        top.add_bond(a, b)
    internal = bcg.features.internal_coordinates(top)
    spread = {"bond": (0.15, 0.003), "angle": (1.9, 0.05)}
    columns = [spread.get(kind, (0.0, math.pi)) for kind in internal.kinds]
    centre, width = (torch.tensor(column) for column in zip(*columns, strict=True))
    y = centre + width * (2 * torch.rand(500, len(columns), generator=generator) - 1)
    frames = Frames.from_numpy(internal.positions(y).numpy(), unit="nm", temperature=300.0, topology=top)
    coordinates = bcg.features.unbounded_coordinates(frames)
    assert len(coordinates.soft) == 2
    features = bcg.features.aligned(top, reference=frames.positions[0], select="all")
    decoder = nets.FlowDecoder(1, 15, features, coordinates, layers=2, bins=4, hidden=(8,)).double()
    z = torch.randn(4000, 1, generator=generator).double()
    before = decoder(z).over
    with torch.random.fork_rng(), torch.no_grad():
        torch.manual_seed(4)
        u = before()
        torch.testing.assert_close(before.log_prob(u), Normal(0.0, 1.0).log_prob(u).sum(-1))  # a fresh one
        changed = copy.deepcopy(decoder)
        for parameter in changed.parameters():
            parameter.add_(0.05 * torch.randn_like(parameter))
        after = changed(z).over
        weights = (after.log_prob(u) - before.log_prob(u)).exp()
        u = after()
        other = (before.log_prob(u) - after.log_prob(u)).exp()
    for ratio in (weights, other):
        error = float(ratio.std()) / len(ratio) ** 0.5
        assert error < 0.05
        assert abs(float(ratio.mean()) - 1) < 4 * error
    turned = u.clone()
    turned[:, coordinates.soft] += 0.5
    with torch.no_grad():
        bonds = [after.others(v[:, coordinates.soft]).log_prob(v[:, decoder.rest]) for v in (u, turned)]
    assert float((bonds[0] - bonds[1]).abs().max()) > 0.01


def test_a_flow_comes_back_from_the_disk(conformations, dipeptide, tmp_path):
    frames, _ = dipeptide
    conformations.save(tmp_path / "fit")
    again = bcg.Fit.load(tmp_path / "fit")
    torch.testing.assert_close(again.generate(5), conformations.generate(5), rtol=0, atol=0)
    torch.testing.assert_close(again.cv(frames).mean, conformations.cv(frames).mean, rtol=0, atol=0)
    assert again.model.config() == conformations.model.config()


def test_densities_of_conformations_are_compared_whatever_their_coordinates(conformations, dipeptide):
    frames, features = dipeptide
    settings = {"steps": 60, "batch_size": 100, "uncertainty": "none", "learning_rate": 0.01}
    over = bcg.features.unbounded_coordinates(frames)
    internal = bcg.features.internal_coordinates(frames.topology, around=frames.positions[0])
    fits = {
        "flow": conformations,
        "unbounded": bcg.fit(PredictiveCV(over, latent_dim=1, hidden=(8,)), frames, **settings),
        "internal": bcg.fit(PredictiveCV(internal, latent_dim=1, hidden=(8,)), frames, **settings),
    }
    found = bcg.analysis.compare(fits, frames)
    assert abs(found["unbounded"].score - found["internal"].score) < 3.0  # in their own coordinates 57 nats apart
    apart = fits["internal"].log_density(frames)[0].mean() - fits["unbounded"].log_density(frames)[0].mean()
    assert abs(float(apart)) > 30.0
    aligned = bcg.fit(PredictiveCV(features, latent_dim=1, hidden=(8,)), frames, **{**settings, "steps": 2})
    names = r"flow: frames by conformations, aligned: frames by Aligned of 30 numbers\); .*unbounded"
    with pytest.raises(ConfigError, match=rf"different spaces .*\({names}"):
        bcg.analysis.compare({"flow": conformations, "aligned": aligned}, frames)


def test_a_decoder_that_is_not_known_is_refused():
    with pytest.raises(ConfigError, match=r"decoder='spline'.*gaussian, flow"):
        PredictiveCV(decoder="spline")


def test_a_flow_has_no_gaussian_posterior(dipeptide):
    frames, features = dipeptide
    with pytest.raises((ConfigError, ModelError), match="laplace"):
        bcg.fit(PredictiveCV(features, decoder="flow"), frames, steps=1, uncertainty="laplace")


def test_a_flow_of_frames_without_bonds_is_refused():
    top = mdtraj.Topology()
    residue = top.add_residue("CHN", top.add_chain())
    for i in range(5):
        top.add_atom(f"C{i}", mdtraj.element.carbon, residue)
    x = torch.randn(40, 5, 3, generator=torch.Generator().manual_seed(0)).numpy()
    frames = Frames.from_numpy(x, unit="nm", temperature=300.0, topology=top)
    model = PredictiveCV(bcg.features.aligned(top, reference=x[0], select="all"), latent_dim=1, decoder="flow")
    with pytest.raises(TopologyError, match="bond"):
        bcg.fit(model, frames, steps=1)
