"""CVs that OpenMM asks Python for: what a native expression is too long for, or has no words for."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from bayescg.errors import ConfigError
from bayescg.export.cv_network import CVNetwork
from bayescg.features import Features, features_from_config

__all__ = ["PythonCV", "python_force"]


class PythonCV:
    """A CV as a function that an ``openmm.PythonForce`` calls: of a State, energy and forces.

    OpenMM pickles it wherever a force is copied or written; it then consists of numbers and strings alone.

    Parameters
    ----------
    features : Features
    network : CVNetwork
    output : int
        Which of its outputs.
    """

    def __init__(self, features: Features, network: CVNetwork, output: int):
        self.features, self.network, self.output = features, network, output

    def __call__(self, state: Any) -> tuple[float, np.ndarray]:
        """Value, for an energy in kJ/mol, and minus its gradient ``(atoms, 3)`` in kJ/mol/nm."""
        positions = state.getPositions(asNumpy=True)
        x = torch.tensor(np.asarray(getattr(positions, "_value", positions)), dtype=torch.float64, requires_grad=True)
        with torch.enable_grad():
            value = self.network(self.features(x))[self.output]
            (slope,) = torch.autograd.grad(value, x)
        return float(value.detach()), -slope.numpy()

    def __getstate__(self) -> dict[str, Any]:
        layers = [(w.numpy().tolist(), b.numpy().tolist(), a) for w, b, a in self.network.layers]
        gauge = self.network.gauge.numpy().tolist()
        return {"features": self.features.config(), "layers": layers, "gauge": gauge, "output": self.output}

    def __setstate__(self, state: dict[str, Any]) -> None:
        def tensor(values: Any) -> torch.Tensor:
            return torch.tensor(values, dtype=torch.float64)

        layers = [(tensor(w), tensor(b), a) for w, b, a in state["layers"]]
        features = features_from_config(state["features"]).double()
        self.__init__(features, CVNetwork(layers, tensor(state["gauge"])), state["output"])


def python_force(features: Features, network: CVNetwork, output: str, numbers: list[int], reason: str) -> Any:
    """An ``openmm.PythonForce`` of one output, which looks at the atoms of the fit alone.

    Raises
    ------
    ConfigError
        This OpenMM has none.
    """
    import openmm

    if not hasattr(getattr(openmm, "PythonForce", None), "setParticles"):
        why = f" ({reason})" if reason else ""
        raise ConfigError(
            f"this CV needs a PythonForce{why}, which OpenMM has from 8.6 on; this is OpenMM {openmm.__version__}: "
            "pip install -U openmm, or fit a CV of torsions and distances with hidden layers of at most 24 units, "
            "which needs none"
        )
    function = PythonCV(features_from_config(features.config()).double(), network, network.outputs.index(output))
    force = openmm.PythonForce(function, {})
    force.setParticles(numbers)
    force.setName("bayescg CV")
    return force
