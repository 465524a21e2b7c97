"""A force field as a batched torch function of positions."""

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from bayescg.errors import ConfigError
from bayescg.systems.forcefield.energy import Energy
from bayescg.systems.forcefield.reader import read_tables

if TYPE_CHECKING:
    import openmm

__all__ = ["ForceField"]


class ForceField:
    """Potential energy and forces of many frames at once, with the parameters of an OpenMM System.

    The energy is a torch function, differentiable as often as one likes, in the precision and on the device of the
    positions. It agrees with OpenMM's Reference platform to rounding.

    Parameters
    ----------
    openmm_system : openmm.System
        See `read_tables` for the forces it may have. Later changes to it are not seen.

    Attributes
    ----------
    tables : Tables
        The parameters.

    Raises
    ------
    ConfigError
        A force that cannot be represented; the message names it.

    Examples
    --------
    >>> import openmm.app as app
    >>> from bayescg.systems import peptide
    >>> topology, positions = peptide("ACE-ALA-NME")
    >>> field = ForceField(app.ForceField("amber96.xml", "implicit/obc1.xml").createSystem(topology))
    >>> x = torch.tensor(positions._value).expand(5, 22, 3)
    >>> field.energy(x).shape, field.forces(x).shape
    (torch.Size([5]), torch.Size([5, 22, 3]))
    """

    def __init__(self, openmm_system: "openmm.System"):
        self.tables = read_tables(openmm_system)
        self._energies: dict[tuple[torch.dtype, torch.device], Energy] = {}

    def __deepcopy__(self, memo: dict) -> "ForceField":
        return self  # it never changes

    def energy(self, x: Tensor) -> Tensor:
        """Potential energy in kJ/mol, differentiable in `x`.

        Parameters
        ----------
        x : torch.Tensor, shape (..., atoms, 3)
            Positions in nm, single or double precision.

        Returns
        -------
        torch.Tensor, shape (...)

        Raises
        ------
        ConfigError
            The positions are not those of so many atoms, or not of floating point.
        """
        return self._module(x)(self._frames(x)).reshape(x.shape[:-2])

    def forces(self, x: Tensor) -> Tensor:
        """Minus the gradient of the energy in kJ/mol/nm, detached from any graph: shape of `x`."""
        frames = self._frames(x).detach()
        with torch.enable_grad():
            frames.requires_grad_()
            (gradient,) = torch.autograd.grad(self._module(x)(frames).sum(), frames)
        return -gradient.reshape(x.shape)

    def _frames(self, x: Tensor) -> Tensor:
        atoms = self.tables.atoms
        if x.shape[-2:] != (atoms, 3):
            raise ConfigError(f"expected positions of shape (..., {atoms}, 3), got {tuple(x.shape)}")
        if x.dtype not in (torch.float32, torch.float64):
            raise ConfigError(f"expected positions in single or double precision, got {x.dtype}")
        return x.reshape(-1, atoms, 3)

    def _module(self, x: Tensor) -> Energy:
        place = x.dtype, x.device
        if place not in self._energies:
            self._energies[place] = Energy(self.tables).to(dtype=x.dtype, device=x.device)
        return self._energies[place]
