"""A learned potential energy as a force of OpenMM, which asks Python for it."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from bayescg.errors import ConfigError, ModelError
from bayescg.export.atoms import checked_atoms
from bayescg.inference.fitted_system import FittedSystem
from bayescg.modelling.registry import find_model, model_names

__all__ = ["PythonPotential", "potential_force"]


class PythonPotential:
    """Energy and forces of a fitted potential, as an ``openmm.PythonForce`` calls them, in double precision.

    OpenMM pickles it wherever a force is copied or written; it then consists of numbers and strings, but for a model
    that no package registers or that holds a user's own module.

    Parameters
    ----------
    system : FittedSystem
    """

    def __init__(self, system: FittedSystem):
        model = _double(system.model)
        point, varying = ({k: _double(v) for k, v in part.items()} for part in (system.point, system.varying))
        self.system = FittedSystem(model, point, varying, system.linear)

    def __call__(self, state: Any) -> tuple[float, np.ndarray]:
        """Energy in kJ/mol, and forces ``(atoms, 3)`` in kJ/mol/nm, of a State."""
        positions = state.getPositions(asNumpy=True)
        x = torch.tensor(np.asarray(getattr(positions, "_value", positions)), dtype=torch.float64).flatten()[None]
        slope, energy = torch.func.grad_and_value(lambda y: self.system.energy(y).sum())(x)
        return float(energy), -slope.view(-1, 3).numpy()

    def __getstate__(self) -> dict[str, Any]:
        model, system = self.system.model, self.system
        tensors = [{k: (str(v.dtype), v.tolist()) for k, v in part.items()} for part in (system.point, system.varying)]
        ours = type(model).__name__ in model_names() and getattr(model, "energy", None) is None
        described = (type(model).__name__, model.config()) if ours else model
        return {"model": described, "tensors": tensors, "linear": system.linear}

    def __setstate__(self, state: dict[str, Any]) -> None:
        point, varying = (
            {k: torch.tensor(v, dtype=getattr(torch, kind.removeprefix("torch."))) for k, (kind, v) in part.items()}
            for part in state["tensors"]
        )
        model = state["model"]
        if isinstance(model, tuple):
            model = find_model(model[0]).from_config(model[1]).double()
        self.__init__(FittedSystem(model, point, varying, state["linear"]))


def potential_force(system: FittedSystem, frames: Any, top: Any, atoms: Sequence[int] | None) -> Any:
    """An ``openmm.PythonForce`` of a potential, or of one draw of it.

    Raises
    ------
    ModelError
        It is a batch of draws, or in reduced units.
    ConfigError
        This OpenMM has no PythonForce, or `atoms` do not fit.
    TopologyError
        The atoms of the simulation are others.
    """
    import openmm

    if system.draws is not None:
        raise ModelError("a force is one of one draw: give fit.system(draw=0), say, not many draws at once")
    if system.temperature is None:
        raise ModelError(
            "this potential is in reduced units, and OpenMM's are nm and kJ/mol: fit it to frames in these, with a "
            "temperature in K"
        )
    if not hasattr(getattr(openmm, "PythonForce", None), "setParticles"):
        raise ConfigError(
            f"a learned potential needs a PythonForce, which OpenMM has from 8.6 on; this is {openmm.__version__}: pip "
            "install -U openmm"
        )
    force = openmm.PythonForce(PythonPotential(system), {})
    force.setParticles(checked_atoms(system.dim // 3, frames, top, atoms))
    force.setName("bayescg potential")
    return force


def _double(value: Any) -> Any:
    """A copy of a module or tensor in double precision, whole numbers as they are."""
    if isinstance(value, Tensor):
        return value.detach().cpu().double() if value.is_floating_point() else value.detach().cpu()
    return copy.deepcopy(value).cpu().double()
