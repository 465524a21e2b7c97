"""PredictiveCV on the published alanine dipeptide data: predicted histograms against frames not fitted.

The data (Schöberl et al. 2019, 500 frames of one simulation) are not part of the project; the tests skip without them.
"""

from pathlib import Path

import mdtraj
import numpy as np
import pytest

import bayescg as bcg
from bayescg.models import PredictiveCV

DATA = Path(__file__).parents[3] / "shared" / "data" / "ala2_predictive_cvs"
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not DATA.is_dir(), reason="the published alanine dipeptide data are not at ../shared/data"),
]
SEEDS = (0, 1, 2)
FIT = {"validation": 0.0, "steps": 1500, "batch_size": 256}


@pytest.fixture(scope="module")
def top() -> mdtraj.Trajectory:
    return mdtraj.load(str(DATA / "ala2.pdb"))


@pytest.fixture(scope="module")
def frames(top: mdtraj.Trajectory) -> bcg.data.Frames:
    x = np.loadtxt(DATA / "dataset_500.txt").T.reshape(-1, 22, 3)
    return bcg.data.Frames.from_numpy(x, unit="angstrom", temperature=330.0, topology=top.topology)


@pytest.mark.parametrize("seed", SEEDS)
def test_bands_cover_the_histograms_of_frames_not_fitted(frames, top, seed) -> None:
    # three CVs: two leave the spread of the radius of gyration too wide at N = 200, four are too many for N = 50
    model = PredictiveCV(bcg.features.aligned(top), latent_dim=3)
    covered, widths = {}, {"rg": [], "rmsd": []}
    for n in (50, 100, 200):
        fit = bcg.fit(model, frames[:n], uncertainty="ensemble", members=40, seed=seed, **FIT)
        for o in bcg.analysis.predictive_check(fit, frames[n:], observables=("rg", "rmsd"), bins=30, seed=seed):
            kept = o.counts >= 5
            # the 90 % predictive band holds the parameters' spread and the multinomial error of the frames not fitted
            ratio = (o.credible[1] - o.credible[0])[kept] / (2 * 1.645 * o.observed_se[kept])
            covered[n, o.name] = o.coverage
            where = f"N={n} seed={seed} {o.name}"
            print(f"{where}: {o.coverage:.2f} of {kept.sum()} bins, band {ratio.mean():.2f} multinomial widths")
            assert ratio.mean() <= 3.0, (n, o.name)
        # the same frames for every N, so that widths compare
        for o in bcg.analysis.predictive_check(fit, frames[200:], observables=("rg", "rmsd"), bins=30, seed=seed):
            density = (o.credible[1] - o.credible[0]) / np.diff(o.edges)
            widths[o.name].append(float((density * o.observed).sum()))
    for name, found in widths.items():
        print(f"seed={seed} {name}: average width of the density's band {np.round(found, 1)} per nm")
        assert found[0] > found[1] > found[2], name
    assert min(covered.values()) >= 0.8, covered


@pytest.mark.parametrize("seed", SEEDS)
def test_two_cvs_separate_alpha_from_beta(frames, top, seed) -> None:
    psi = mdtraj.compute_psi(mdtraj.Trajectory(frames.positions, top.topology))[1][:, 0]
    alpha = (np.degrees(psi) > -120) & (np.degrees(psi) < 60)
    order = np.random.default_rng(seed).permutation(500)
    train, test = order[:400], order[400:]
    fit = bcg.fit(
        PredictiveCV(bcg.features.aligned(top), latent_dim=2), frames[train], seed=seed, uncertainty="none", **FIT
    )
    z, w = fit.cv(frames[train]).mean.numpy(), fit.cv(frames[test]).mean.numpy()
    nearest = ((w[:, None] - z[None]) ** 2).sum(-1).argsort(1)[:, :5]
    called = alpha[train][nearest].mean(1) > 0.5
    correct = called == alpha[test]
    balanced = (correct[alpha[test]].mean() + correct[~alpha[test]].mean()) / 2
    print(f"seed={seed}: {correct.mean():.2f} correct, balanced {balanced:.3f}, {alpha[test].sum()} alpha frames")
    assert correct.mean() >= 0.97
    assert balanced >= 0.93
