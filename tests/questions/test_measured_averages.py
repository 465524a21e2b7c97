"""Couplings beside a simulation, as a run and a notebook ask of them."""

import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation

import bayescg as bcg
from bayescg.errors import ConfigError
from bayescg.experiments import build
from bayescg.experiments.settings import load
from bayescg.models import PredictiveCV

ANGLES = np.deg2rad([-60.0, -120.0])
COUPLING = bcg.features.KARPLUS["HN,HA"]["bax2007"]


def coupling(phi: np.ndarray) -> np.ndarray:
    a, b, c, phase, _ = COUPLING
    return a * np.cos(phi + np.deg2rad(phase)) ** 2 + b * np.cos(phi + np.deg2rad(phase)) + c


@pytest.fixture(scope="module")
def finding():
    """Of ten frames seven have phi near -60 degrees, by a coupling it should be three."""
    top, start = bcg.systems.peptide("ACE-ALA-NME")
    x, rng = np.asarray(start._value), np.random.default_rng(0)
    (first,) = bcg.features.observables.from_names(["phi"], top)
    phi = np.where(rng.uniform(size=4000) < 0.7, *ANGLES) + 0.1 * rng.normal(size=4000)
    axis = (x[8] - x[6]) / np.linalg.norm(x[8] - x[6])
    begin = float(first(torch.as_tensor(x)))
    turned = np.repeat(x[None], len(phi), 0)
    moving = [0, 1, 2, 3, 4, 5, 7]  # about N and CA, what lies before N
    for frame, angle in zip(turned, phi, strict=True):
        frame[moving] = Rotation.from_rotvec(-(angle - begin) * axis).apply(x[moving] - x[6]) + x[6]
    frames = bcg.data.Frames.from_numpy(turned, unit="nm", temperature=300.0, topology=top)
    fit = bcg.fit(PredictiveCV(bcg.features.aligned(frames), 1, hidden=(4,)), frames, steps=2, uncertainty="none")
    value = 0.3 * coupling(phi[phi > -1.57]).mean() + 0.7 * coupling(phi[phi < -1.57]).mean()
    settings = {"torsions": ["phi"], "regions": {"near": {"phi": [-90.0, 0.0]}}, "draws": 100}
    return bcg.questions.ask(fit, frames, "measured_averages", measured={"3J(HN,HA)": [float(value), 0.05]}, **settings)


def test_populations_follow_the_measurement(finding):
    near = finding.quantities["measured_population_near"]
    assert near.ci90[0] < 0.3 < near.ci90[1]
    assert near.mean < 0.5  # where the simulation has .7; one datum whose curve may be off is not believed outright
    assert not [w for w in finding.warnings if "measured" in w or "frames left" in w]


def test_a_reader_sees_each_datum_and_the_error(finding):
    (row,) = finding.tables["Measured averages"].rows
    assert row[0] == "3J(HN,HA)"
    left, right, *_ = finding.figures["measured_averages"].draw().axes
    assert left.get_yticklabels()[0].get_text() == row[0]
    assert right.get_xlabel() == "φ (°)"
    assert set(finding.datasets["measured_averages"].force_field_error.dims) == {"draw", "bin"}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (['analysis.measured={"3J(CA,CB)"=[1.0,0.1]}'], r"'3J\(CA,CB\)' is no coupling that is known here; there are"),
        (["analysis.karplus=bax"], "karplus = 'bax': there are 'bax2007'"),
    ],
)
def test_what_is_no_coupling_is_refused_before_anything_is_simulated(changes, message):
    with pytest.raises(ConfigError, match=message):
        build.check(load("alanine-dipeptide-experiments", changes=changes))
