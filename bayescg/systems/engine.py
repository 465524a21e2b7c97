"""OpenMM as a differentiable torch operator: ``bayescg::openmm_energy``.

A custom operator survives tracing and compilation as one opaque node, and its derivative is the force that
OpenMM computed along with the energy.
"""

import itertools
import weakref
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from bayescg.errors import ModelError

if TYPE_CHECKING:
    import openmm

__all__ = ["Engine", "openmm_energy"]


class Engine:
    """One OpenMM context on the Reference platform, in double precision.

    Parameters
    ----------
    openmm_system : openmm.System
        What to evaluate; later changes to it are not seen.

    Attributes
    ----------
    key : int
        The number by which `openmm_energy` finds this engine: a graph can carry a number, not an object.

    Examples
    --------
    >>> import openmm
    >>> spring = openmm.CustomExternalForce("x^2 + y^2 + z^2")
    >>> _ = spring.addParticle(0)
    >>> one_particle = openmm.System()
    >>> _ = one_particle.addParticle(1.0), one_particle.addForce(spring)
    >>> engine = Engine(one_particle)
    >>> openmm_energy(torch.tensor([[1.0, 2.0, 3.0]]), engine.key)
    (tensor([14.]), tensor([[-2., -4., -6.]]))
    """

    def __init__(self, openmm_system: "openmm.System"):
        from openmm import Context, Platform, VerletIntegrator

        self._context = Context(openmm_system, VerletIntegrator(0.001), Platform.getPlatformByName("Reference"))
        self.key = next(_KEYS)
        _ENGINES[self.key] = self

    def evaluate(self, frames: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Energies (n,) and forces (n, dim) of frames (n, dim); NaN for a frame that is not finite."""
        from openmm.unit import kilojoule_per_mole, nanometer  # pyright: ignore[reportAttributeAccessIssue]

        energies = np.full(len(frames), np.nan)
        forces = np.full(frames.shape, np.nan)
        for i in np.flatnonzero(np.isfinite(frames).all(1)):
            self._context.setPositions(frames[i].reshape(-1, 3))
            state = self._context.getState(energy=True, forces=True)
            energies[i] = state.getPotentialEnergy().value_in_unit(kilojoule_per_mole)
            force = state.getForces(asNumpy=True).value_in_unit(kilojoule_per_mole / nanometer)
            forces[i] = np.asarray(force).ravel()
        return energies, forces


_KEYS = itertools.count()
_ENGINES: "weakref.WeakValueDictionary[int, Engine]" = weakref.WeakValueDictionary()


def openmm_energy(x: Tensor, key: int) -> tuple[Tensor, Tensor]:
    """Energies (n,) in kJ/mol and forces (n, dim) in kJ/mol/nm of coordinates (n, dim) in nm.

    The energies are differentiable in `x`; differentiating the forces raises ModelError.
    """
    return _Differentiable.apply(x, key)


@torch.library.custom_op("bayescg::openmm_energy", mutates_args=())
def _openmm_energy(x: Tensor, key: int) -> tuple[Tensor, Tensor]:
    energies, forces = _ENGINES[key].evaluate(x.detach().cpu().double().numpy())
    return torch.from_numpy(energies).to(x), torch.from_numpy(forces).to(x)


@_openmm_energy.register_fake
def _(x: Tensor, key: int) -> tuple[Tensor, Tensor]:
    return x.new_empty(x.shape[:-1]), torch.empty_like(x)


@_openmm_energy.register_vmap
def _(
    info: Any, in_dims: tuple[int | None, None], x: Tensor, key: int
) -> tuple[tuple[Tensor, Tensor], tuple[int, int]]:
    stacked = x.movedim(in_dims[0] or 0, 0)
    energies, forces = _openmm_energy(stacked.flatten(0, 1), key)
    return (energies.unflatten(0, stacked.shape[:2]), forces.unflatten(0, stacked.shape[:2])), (0, 0)


class _Differentiable(torch.autograd.Function):
    """The derivatives of the operator. Those that an operator registers itself do not work inside torch.func."""

    generate_vmap_rule = True

    @staticmethod
    def forward(x: Tensor, key: int) -> tuple[Tensor, Tensor]:
        return _openmm_energy(x, key)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, int], output: tuple[Tensor, Tensor]) -> None:
        ctx.set_materialize_grads(False)
        ctx.save_for_backward(output[1])

    @staticmethod
    def backward(ctx: Any, *grads: Tensor | None) -> tuple[Tensor | None, None]:
        energy_grad, forces_grad = grads
        if forces_grad is not None:
            raise ModelError(
                "OpenMM gives forces but not their derivatives: an objective that differentiates forces cannot use it"
            )
        (forces,) = ctx.saved_tensors
        return (None if energy_grad is None else -energy_grad.unsqueeze(-1) * forces), None
