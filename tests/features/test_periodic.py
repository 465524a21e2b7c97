"""Distances to the nearest image: against mdtraj and against a search of all images, in every shape of box."""

import io
from itertools import product
from typing import Any

import mdtraj
import numpy as np
import pytest
import torch
from torch import Tensor
from torch.fx.experimental.proxy_tensor import make_fx

import bayescg as bcg
from bayescg.errors import ConfigError, DataError
from bayescg.features import features_from_config
from bayescg.features.periodic import around, minimum_image, neighbours, reduced
from bayescg.models import PredictiveCV

BOXES = {
    "brick": np.diag([2.0, 1.7, 2.4]),
    "hexagonal": np.array([[2.0, 0, 0], [-1.0, 3**0.5, 0], [0, 0, 2.2]]),
    "dodecahedron": 2.1 * np.array([[1.0, 0, 0], [0, 1, 0], [0.5, 0.5, 0.5**0.5]]),
    "octahedron": 2.2 * np.array([[1.0, 0, 0], [1 / 3, 8**0.5 / 3, 0], [-1 / 3, 2**0.5 / 3, 6**0.5 / 3]]),
}
SKEW = np.array([[1.0, 0, 0], [2.3, 1.1, 0], [-3.7, 4.1, 1.2]])
ATOMS = 9
PAIRS = [(i, j) for i in range(ATOMS) for j in range(i)]


@pytest.fixture(scope="module")
def topology() -> mdtraj.Topology:
    argon = mdtraj.Topology()
    chain = argon.add_chain()
    for number in range(ATOMS):
        argon.add_atom("Ar", mdtraj.element.argon, argon.add_residue("AR", chain, number + 1))
    return argon


def anywhere(n: int = 40) -> Tensor:
    """Atoms in and around the box, and far from it."""
    return 4 * torch.randn(n, ATOMS, 3, generator=torch.Generator().manual_seed(3), dtype=torch.float64)


def searched(x: Tensor, box: np.ndarray) -> np.ndarray:
    """Distances of all pairs to the nearest of all images within reach."""
    vectors = np.broadcast_to(box, (len(x), 3, 3))
    d = np.stack([(x[:, i] - x[:, j]).numpy() for i, j in PAIRS], axis=1)
    d -= np.einsum("npk,nkl->npl", np.round(np.einsum("npk,nkl->npl", d, np.linalg.inv(vectors))), vectors)
    cells = np.array(list(product(range(-8, 9), repeat=3)), dtype=float)
    return np.stack([
        np.linalg.norm(e[:, None] + (cells @ b)[None], axis=-1).min(1) for e, b in zip(d, vectors, strict=True)
    ])  # fmt: skip


def in_boxes(topology: Any, x: Tensor, box: Any) -> mdtraj.Trajectory:
    frames = mdtraj.Trajectory(x.numpy().astype(np.float32), topology)
    frames.unitcell_vectors = np.broadcast_to(box, (len(x), 3, 3)).astype(np.float32)
    return frames


@pytest.mark.parametrize("name", BOXES)
def test_matches_mdtraj(name: str, topology: Any):
    x, box = anywhere(), BOXES[name]
    expected = mdtraj.compute_distances(in_boxes(topology, x, box), PAIRS, periodic=True)
    assert np.abs(mdtraj.compute_distances(in_boxes(topology, x, box), PAIRS, periodic=False) - expected).max() > 3.0
    for top in (topology, in_boxes(topology, x, box)):
        features = bcg.features.distances(top, PAIRS, box=None if top is not topology else box)
        np.testing.assert_allclose(features(x).numpy(), expected, atol=1e-5)
    np.testing.assert_allclose(features(x.float()).numpy(), expected, atol=1e-4)


@pytest.mark.parametrize("box", [*BOXES.values(), SKEW], ids=[*BOXES, "skew"])
def test_no_image_is_nearer(box: np.ndarray, topology: Any):
    x, expected = anywhere(12), searched(anywhere(12), box)
    turned = torch.linalg.qr(torch.randn(3, 3, generator=torch.Generator().manual_seed(1), dtype=torch.float64))[0]
    for u, vectors in ((x, box), (x @ turned, box @ turned.numpy())):
        np.testing.assert_allclose(bcg.features.distances(topology, PAIRS, box=vectors)(u), expected, atol=1e-12)


def test_rounding_alone_and_skew_vectors_are_controls_that_fail(topology: Any):
    x = anywhere(12)
    d = torch.stack([x[:, i] - x[:, j] for i, j in PAIRS], dim=1)
    box, expected = torch.from_numpy(SKEW), searched(x, SKEW)
    for vectors, cells, off in (
        (box, None, 1.0),
        (box, neighbours(box), 0.1),
        (reduced(box), None, 0.1),
        (reduced(box), neighbours(reduced(box)), 0.0),
        (reduced(box)[None], around(reduced(box)[None]), 0.0),
    ):
        lengths = minimum_image(d, vectors, cells).norm(dim=-1).numpy()
        assert (lengths - expected).max() > off if off else np.abs(lengths - expected).max() < 1e-12


def test_only_cells_that_may_be_nearer_are_searched():
    count = {name: len(neighbours(reduced(torch.from_numpy(box)))) for name, box in BOXES.items()}
    assert count.pop("brick") == 0
    assert 0 < min(count.values()) <= max(count.values()) < 13


def test_reduced_vectors_span_the_same_lattice():
    box = torch.from_numpy(np.stack([*BOXES.values(), SKEW]))
    whole = reduced(box) @ torch.linalg.inv(box)
    torch.testing.assert_close(whole, whole.round())
    torch.testing.assert_close(torch.linalg.det(whole).abs(), torch.ones(len(box), dtype=torch.float64))
    assert (reduced(box).norm(dim=-1).sum(-1) <= box.norm(dim=-1).sum(-1) + 1e-12).all()


def test_every_frame_in_its_box(topology: Any):
    x = anywhere(12)
    boxes = np.stack([b * (1 + 0.01 * k) for k, b in enumerate([*BOXES.values()] * 3)])
    features = bcg.features.distances(topology, PAIRS)
    exact = features(x, torch.from_numpy(boxes))
    np.testing.assert_allclose(exact, searched(x, boxes), atol=1e-12)
    np.testing.assert_allclose(
        exact, mdtraj.compute_distances(in_boxes(topology, x, boxes), PAIRS, periodic=True), atol=1e-5
    )
    torch.testing.assert_close(features(x[None, :2], torch.from_numpy(boxes[:2])), exact[None, :2])


@pytest.mark.filterwarnings("ignore:`torch.jit")
@pytest.mark.parametrize("name", BOXES)
def test_exported_and_traced_features_look_across_the_box(name: str, topology: Any):
    x = anywhere()
    for features in (
        bcg.features.distances(topology, PAIRS, box=BOXES[name]),
        bcg.features.contacts(topology, PAIRS, box=BOXES[name]),
    ):
        buffer = io.BytesIO()
        torch.jit.save(torch.jit.trace(features, x[:2]), buffer)
        buffer.seek(0)
        exported = torch.jit.load(buffer)
        torch.testing.assert_close(exported(x), features(x))
        torch.testing.assert_close(make_fx(features)(x[:5])(x[5:10]), features(x[5:10]))
        assert torch.autograd.gradcheck(features, x[:2].requires_grad_())


def test_an_atom_may_go_to_any_cell(topology: Any):
    """Invariance: what an engine saves of an atom that crosses the boundary does not matter."""
    for box in BOXES.values():
        features = bcg.features.distances(topology, box=box)
        x = anywhere()
        cells = torch.randint(-2, 3, x.shape, generator=torch.Generator().manual_seed(0)).double()
        torch.testing.assert_close(features(x + cells @ torch.from_numpy(box)), features(x))


def frames_of(topology: Any, x: Tensor, box: Any) -> bcg.data.Frames:
    return bcg.data.Frames.from_numpy(x.numpy(), unit="nm", topology=topology, box=box, dt=1.0, temperature=300.0)


def test_frames_bring_their_box(topology: Any):
    x, box = anywhere(), BOXES["octahedron"]
    frames = frames_of(topology, x, box)
    np.testing.assert_allclose(bcg.features.distances(frames, PAIRS)(x), searched(x, box), atol=1e-6)
    np.testing.assert_allclose(bcg.features.distances(frames[:1], PAIRS).config()["box"], box, atol=1e-6)


def test_features_without_the_box_of_the_frames_are_refused_wherever_they_are_used(topology: Any):
    x = anywhere(200)
    frames, features = frames_of(topology, x, BOXES["brick"]), bcg.features.distances(topology, PAIRS)
    message = r"in frame \d+ Ar \d+, Ar \d+ are \d.\d+ nm apart in the periodic box, \d+.\d+ nm.*distances\(frames"
    for use in (
        lambda f: bcg.fit(PredictiveCV(f, latent_dim=1), frames, steps=1, uncertainty="none"),
        lambda f: bcg.analysis.spectrum(f, frames, lag=1.0),
        lambda f: bcg.analysis.free_energy(None, frames, cv=f),
        lambda f: bcg.analysis.spectrum(bcg.features.chain(f), frames, lag=1.0),
    ):
        with pytest.raises(DataError, match=message):
            use(features)
    bcg.features.distances(frames, PAIRS).check_frames(frames)
    inside = bcg.features.distances(frames, PAIRS, box=False)
    inside.check_frames(frames)
    torch.testing.assert_close(features_from_config(inside.config())(x), features(x))
    together = frames_of(topology, 0.05 * x, BOXES["brick"] * 9)
    features.check_frames(together)  # nothing lies across the box


def test_boxes_that_differ(topology: Any):
    x = anywhere(20)
    boxes = BOXES["brick"] * (1 + 0.01 * np.sin(np.arange(20.0)))[:, None, None]
    frames = frames_of(topology, x, boxes)
    features = bcg.features.distances(frames, PAIRS)
    assert features.config()["box"] is None
    with pytest.raises(DataError, match=r"box=frames.box.mean\(0\)"):
        features.check_frames(frames)
    with pytest.warns(UserWarning, match="whose box is another one; to be exact, compute features"):
        bcg.features.distances(frames, PAIRS, box=frames.box.mean(0)).check_frames(frames)  # type: ignore[union-attr]


def test_a_fit_is_asked_of_frames_in_its_box(topology: Any):
    x = anywhere(60)
    frames = frames_of(topology, x, BOXES["dodecahedron"])
    model = PredictiveCV(bcg.features.distances(frames, PAIRS), latent_dim=1)
    fit = bcg.fit(model, frames, steps=2, batch_size=32, uncertainty="none", seed=0)
    torch.testing.assert_close(fit.cv(frames).mean, fit.cv(x).mean)
    with pytest.warns(UserWarning, match="whose box is another one"):
        fit.cv(frames_of(topology, x, 1.1 * BOXES["dodecahedron"]))


@pytest.mark.parametrize("box", [np.zeros(3), np.eye(2), np.ones((3, 3)), 3.0])
def test_what_is_no_box_is_refused(box: Any, topology: Any):
    with pytest.raises(ConfigError, match="box= takes box vectors"):
        bcg.features.distances(topology, PAIRS, box=box)
