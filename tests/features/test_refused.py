"""What carries no topology, energies or tensor is refused by an error that says what to give."""

import numpy as np
import pytest

from bayescg import features, systems
from bayescg.errors import ConfigError, TopologyError


@pytest.fixture(scope="module")
def peptide():
    return systems.peptide("ACE-ALA-NME")


def test_coordinates_need_a_molecule_with_energies(peptide):
    topology, positions = peptide
    for given in (topology, systems.DoubleWell(), 3):
        with pytest.raises(ConfigError, match=rf"a {type(given).__name__} has no energies of a molecule.*internal_c"):
            features.unbounded_coordinates(given)
    for given in (positions, np.zeros((22, 3)), None, systems.DoubleWell):
        with pytest.raises(TopologyError, match=f"{type(given).__name__} carries no topology"):
            features.internal_coordinates(given)


def test_features_read_tensors(peptide):
    topology, positions = peptide
    x = np.asarray(positions._value)
    for one in (features.internal_coordinates(topology), features.torsions(topology), features.distances(topology)):
        with pytest.raises(TopologyError, match=r"take a torch tensor, not a ndarray; give torch.as_tensor\(x\)"):
            one(x)
    with pytest.raises(TopologyError, match="a tensor of 2 flat coordinates, not a ndarray"):
        features.cartesian(2)(np.zeros((5, 2)))


def test_a_system_carries_its_topology_and_structure():
    system = systems.alanine_dipeptide()
    assert features.internal_coordinates(system).size == 60
    reference = features.aligned(system).reference.numpy()
    assert np.allclose(reference, system.start, atol=1e-6)
