"""Energies and forces by OpenMM, one frame after the other, as the differentiable operator ``bayescg::force_field``."""

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from bayescg.errors import ModelError
from bayescg.systems.forcefield.operator import force_field, register

if TYPE_CHECKING:
    import openmm

__all__ = ["Engine"]


class Engine:
    """One OpenMM context on the Reference platform, in double precision.

    Parameters
    ----------
    openmm_system : openmm.System
        What to evaluate; later changes to it are not seen.

    Examples
    --------
    >>> import openmm
    >>> spring = openmm.CustomExternalForce("x^2 + y^2 + z^2")
    >>> _ = spring.addParticle(0)
    >>> one_particle = openmm.System()
    >>> _ = one_particle.addParticle(1.0), one_particle.addForce(spring)
    >>> engine, x = Engine(one_particle), torch.tensor([[[1.0, 2.0, 3.0]]])
    >>> engine.energy(x), engine.forces(x)
    (tensor([14.]), tensor([[[-2., -4., -6.]]]))
    """

    def __init__(self, openmm_system: "openmm.System"):
        from openmm import Context, Platform, VerletIntegrator

        self._context = Context(openmm_system, VerletIntegrator(0.001), Platform.getPlatformByName("Reference"))
        self._key = register(self)

    def energy(self, x: Tensor) -> Tensor:
        """Energies (n,) in kJ/mol of frames (n, atoms, 3) in nm, differentiable once; NaN where x is not finite."""
        return force_field(x, self._key)[0]

    def forces(self, x: Tensor) -> Tensor:
        """Forces in kJ/mol/nm: shape of `x`."""
        return force_field(x, self._key)[1]

    def compiled(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Energies (n,) and forces (n, atoms, 3) of frames (n, atoms, 3): no gradients."""
        from openmm.unit import kilojoule_per_mole, nanometer  # pyright: ignore[reportAttributeAccessIssue]

        frames = x.detach().cpu().double().numpy()
        energies, forces = np.full(len(frames), np.nan), np.full(frames.shape, np.nan)
        for i in np.flatnonzero(np.isfinite(frames).all((1, 2))):
            self._context.setPositions(frames[i])
            state = self._context.getState(energy=True, forces=True)
            energies[i] = state.getPotentialEnergy().value_in_unit(kilojoule_per_mole)
            forces[i] = state.getForces(asNumpy=True).value_in_unit(kilojoule_per_mole / nanometer)
        return torch.from_numpy(energies).to(x), torch.from_numpy(forces).to(x)

    def plain(self, x: Tensor) -> Callable[[Tensor], Tensor]:
        """There are no torch operations whose derivatives could be had."""
        raise ModelError(
            "OpenMM gives forces but not their derivatives: an objective that differentiates forces cannot use it"
        )
