"""A force field as a batched torch function of positions."""

import ctypes
from collections.abc import Callable
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from bayescg.errors import ConfigError
from bayescg.recording.tracing import not_recorded
from bayescg.systems.forcefield.energies.energy import Energy
from bayescg.systems.forcefield.native import Native, kernels
from bayescg.systems.forcefield.operator import force_field, register
from bayescg.systems.forcefield.reading.reader import read_tables

if TYPE_CHECKING:
    import openmm

__all__ = ["ForceField"]


class ForceField:
    """Potential energy and forces of many frames at once, with the parameters of an OpenMM System.

    Energies are differentiable as often as one likes, in the precision and on the device of the positions, and
    agree with OpenMM's Reference platform to rounding. On a processor energies and forces come from compiled C++ that
    takes its frames in small tiles, with as many threads as torch has, and a frame's numbers do not depend on the
    frames around it. On other devices, for derivatives of forces, and where no C++ compiler is found, they come from
    torch operations; `kernels` says which it is.

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

    Notes
    -----
    Atoms nearer than 0.002 nm repel each other as if they were that far apart, so that energies are finite.

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
        self._natives: dict[torch.dtype, Native] = {}
        self._key = register(self)

    def __deepcopy__(self, memo: dict) -> "ForceField":
        return self  # it never changes

    @property
    def kernels(self) -> str:
        """``"native"`` where compiled C++ computes on the processor, else the reason why it does not."""
        compiled = kernels()
        return "native" if isinstance(compiled, ctypes.CDLL) else compiled

    def energy(self, x: Tensor) -> Tensor:
        """Potential energy in kJ/mol, differentiable in `x`.

        Parameters
        ----------
        x : torch.Tensor, shape (..., atoms, 3)
            Positions in nm, single or double precision.

        Returns
        -------
        torch.Tensor, shape (...)
            NaN for a frame that is not finite.

        Raises
        ------
        ConfigError
            The positions are not those of so many atoms, or not of floating point.
        """
        frames = self._frames(x)
        energy = force_field(frames, self._key)[0] if self._is_native(x) else self.plain(x)(frames)
        return energy.reshape(x.shape[:-2])

    def forces(self, x: Tensor) -> Tensor:
        """Minus the gradient of the energy in kJ/mol/nm, detached from any graph: shape of `x`."""
        frames = self._frames(x).detach()
        if self._is_native(x):
            return force_field(frames, self._key)[1].reshape(x.shape)
        with torch.enable_grad():
            frames.requires_grad_()
            (gradient,) = torch.autograd.grad(self.plain(x)(frames).sum(), frames)
        return -gradient.reshape(x.shape)

    def compiled(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Energies (n,) and forces (n, atoms, 3) of frames (n, atoms, 3) by the compiled kernels: no gradients."""
        return self._native(x)(x)

    def native(self, x: Tensor) -> Native | None:
        """The compiled kernels for positions like `x`; None where there are none."""
        return self._native(x) if self._is_native(x) else None

    def plain(self, x: Tensor) -> Callable[[Tensor], Tensor]:
        """The energy (n,) of frames (n, atoms, 3) in torch operations, for the precision and device of `x`."""
        place = x.dtype, x.device
        if place not in self._energies:
            with not_recorded():  # parameters are constants of a graph that is being recorded
                self._energies[place] = Energy(self.tables).to(dtype=x.dtype, device=x.device)
        return self._energies[place]

    def _native(self, x: Tensor) -> Native:
        if x.dtype not in self._natives:
            compiled = kernels()
            assert isinstance(compiled, ctypes.CDLL)
            self._natives[x.dtype] = Native(self.tables, x.dtype, compiled)
        return self._natives[x.dtype]

    def _is_native(self, x: Tensor) -> bool:
        return x.device.type == "cpu" and self.kernels == "native"

    def _frames(self, x: Tensor) -> Tensor:
        atoms = self.tables.atoms
        if x.shape[-2:] != (atoms, 3):
            raise ConfigError(f"expected positions of shape (..., {atoms}, 3), got {tuple(x.shape)}")
        if x.dtype not in (torch.float32, torch.float64):
            raise ConfigError(f"expected positions in single or double precision, got {x.dtype}")
        return x.reshape(-1, atoms, 3)
