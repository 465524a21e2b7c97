"""Physics one can query: a potential energy, its temperature, and what follows from the two."""

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.distributions import Distribution

from bayescg.arguments import check_counts, check_positive
from bayescg.errors import ConfigError
from bayescg.systems.guard import Guard
from bayescg.units import kT, plain

if TYPE_CHECKING:
    from openmm.app import Topology

    from bayescg.systems.forcefield.native import Native

__all__ = ["GuardedSystem", "System", "check_single", "check_system", "from_function"]


class System:
    r"""A potential energy U(x) at a temperature: the target density is :math:`\exp(-U(x) / kT)`.

    Where the coordinates are not Cartesian (:class:`bayescg.systems.CurvilinearSystem`) U holds the volume element.

    Coordinates are flat, in nm for molecules (atom by atom: x, y, z) and in the reduced unit of a toy system.
    Any number of leading batch dimensions is allowed.

    Parameters
    ----------
    energy : callable
        Differentiable torch function from (n, dim) to (n,): kJ/mol for molecules, the unit of `kT` otherwise.
    dim : int
        Number of coordinates.
    temperature : float or openmm.unit.Quantity, optional
        Kelvin; energies are then kJ/mol.
    temperature_kT : float, optional
        Thermal energy in the unit of the energy, for reduced units. Give exactly one of the two.
    topology : openmm.app.Topology, optional
        Atoms and bonds of a molecular system.
    masses : sequence of float, optional
        Of each coordinate, (dim,), with which it moves. None: those of a molecule's atoms, or 1.

    Attributes
    ----------
    dim, temperature, topology, masses
        As given; `temperature` is None in reduced units.
    kT : float
        Thermal energy in the unit of the energy.
    draws : int or None
        Of how many potentials it is a batch, as `Fit.system` makes them; None of one.

    Raises
    ------
    ConfigError
        Both or none of the temperatures are given, one is not positive, or `dim` is not.

    Examples
    --------
    >>> well = System(lambda x: 0.5 * (x**2).sum(-1), dim=2, temperature_kT=1.0)
    >>> x = torch.tensor([[1.0, 2.0]])
    >>> well.energy(x), well.forces(x)
    (tensor([2.5000]), tensor([[-1., -2.]]))
    """

    draws: int | None = None

    def __init__(
        self,
        energy: Callable[[Tensor], Tensor],
        dim: int,
        *,
        temperature: float | None = None,
        temperature_kT: float | None = None,
        topology: "Topology | None" = None,
        masses: Sequence[float] | None = None,
    ):
        if (temperature is None) == (temperature_kT is None):
            raise ConfigError("give either temperature (K) or temperature_kT (reduced units), and only one")
        check_counts(dim=(dim, 1))
        temperature = plain(temperature, "K")
        if temperature is None:
            check_positive(temperature_kT=temperature_kT)
        else:
            check_positive(temperature=temperature)
        thermal: Any = temperature_kT if temperature is None else kT(temperature)
        self.dim = dim
        self.temperature = temperature
        self.kT = float(thermal)
        self.topology = topology
        self.masses = None if masses is None else tuple(map(float, masses))
        if self.masses is not None:
            check_positive(**{f"masses[{i}]": m for i, m in enumerate(self.masses)})
            if len(self.masses) != dim:
                raise ConfigError(f"masses={self.masses} must be one for each of {dim} coordinates")
        self._energy = energy

    def energy(self, x: Tensor) -> Tensor:
        """Potential energy, differentiable in `x`.

        Parameters
        ----------
        x : torch.Tensor, shape (..., dim)
            Coordinates.

        Returns
        -------
        torch.Tensor, shape (...)
            kJ/mol for molecules, the unit of `kT` otherwise.

        Raises
        ------
        ConfigError
            `x` is no tensor of floating-point numbers, or its last dimension is not `dim`.
        """
        flat = self._flat(x)
        return self._energy(flat).reshape(x.shape[:-1])

    def forces(self, x: Tensor) -> Tensor:
        """Minus the gradient of the energy, detached from any graph.

        Parameters
        ----------
        x : torch.Tensor, shape (..., dim)
            Coordinates.

        Returns
        -------
        torch.Tensor, shape (..., dim)
            kJ/mol/nm for molecules.
        """
        # not torch.autograd.grad, which cannot be used in a model's programs
        gradient = torch.func.grad(lambda y: self._energy(y).sum())(self._flat(x).detach())
        return -gradient.detach().reshape(x.shape)

    def log_prob(self, x: Tensor) -> Tensor:
        """Log of the unnormalised Boltzmann density, -U(x) / kT, differentiable in `x`.

        Parameters
        ----------
        x : torch.Tensor, shape (..., dim)
            Coordinates.

        Returns
        -------
        torch.Tensor, shape (...)
        """
        return -self.energy(x) / self.kT

    def potential_energy(self, x: Tensor) -> Tensor:
        """Energy of the positions alone, without the volume element, ``(...)``; of Cartesian coordinates `energy`."""
        return self.energy(x)

    def positions(self, x: Tensor) -> Tensor:
        """Positions ``(..., atoms, 3)`` of a molecule's coordinates ``(..., dim)``; those of other systems as they are.

        Parameters
        ----------
        x : torch.Tensor, shape (..., dim)

        Returns
        -------
        torch.Tensor
            In nm for molecules.
        """
        return x if self.topology is None else x.unflatten(-1, (-1, 3))

    def from_positions(self, x: Tensor) -> Tensor:
        """Coordinates ``(..., dim)`` of flat positions, ``(..., 3 atoms)`` of a molecule; `positions` undone."""
        return x

    def log_volume(self, x: Tensor) -> Tensor:
        r"""Volume of positions per volume of coordinates, :math:`\log |\det \partial x / \partial u|`; here 0.

        `log_prob` holds it: that is a density over the coordinates.

        Parameters
        ----------
        x : torch.Tensor, shape (..., dim)

        Returns
        -------
        torch.Tensor, shape (...)
        """
        return torch.zeros_like(x[..., 0])

    def readable(self, x: Tensor) -> Tensor:
        """What a network should read of coordinates, ``(..., size)`` of ``(..., dim)``: here they themselves."""
        return x

    def kernels(self, x: Tensor) -> "Native | None":
        """Compiled kernels that move coordinates like `x` by many steps in one call; here none."""
        return None

    def strays(self, x: Tensor) -> str:
        """Which of configurations ``(n, dim)`` are where the energy means nothing, in words; here none: empty.

        A simulation that finds any stops, and says so.
        """
        return ""

    @property
    def circular(self) -> Tensor:
        """Numbers of the coordinates of a molecule whose two ends are one place; here none."""
        return torch.zeros(0, dtype=torch.long)

    @property
    def reference(self) -> Distribution | None:
        """A broad density over the coordinates, from which tempering can lead to the system; here none."""
        return None

    @property
    def observables(self) -> Mapping[str, Callable[[Tensor], Tensor]]:
        """What is to be read of it by name, functions from coordinates ``(n, dim)`` to ``(n,)``; here none."""
        return {}

    @property
    def states(self) -> Mapping[str, Callable[[Tensor], Tensor]]:
        """Its metastable states by name, functions from coordinates ``(n, dim)`` to bool ``(n,)``; here none."""
        return {}

    @property
    def cartesian(self) -> "System":
        """The same physics over Cartesian coordinates."""
        return self

    @property
    def unguarded(self) -> "System":
        """The same without a guard of its energies."""
        return self

    def guarded(self, cut: float) -> "System":
        """The same system with an energy that grows like a logarithm above `cut`, and says how often it did.

        For training on energies; see `GuardedSystem`. Samplers and analyses should use the system itself.

        Parameters
        ----------
        cut : float
            Energy in the unit of this system's.
        """
        return GuardedSystem(self, cut)

    def __repr__(self) -> str:
        unit = f"temperature={self.temperature} K" if self.temperature is not None else f"kT={self.kT}"
        return f"{type(self).__name__}(dim={self.dim}, {unit})"

    def _flat(self, x: Tensor) -> Tensor:
        if not isinstance(x, Tensor) or not x.is_floating_point():
            what = f"a tensor of {x.dtype}" if isinstance(x, Tensor) else f"a {type(x).__name__}"
            raise ConfigError(f"coordinates are a tensor of floats, not {what}; give torch.as_tensor(x)")
        if x.ndim == 0 or x.shape[-1] != self.dim:
            hint = "; flatten positions (..., atoms, 3) with x.flatten(-2)" if self.topology is not None else ""
            raise ConfigError(f"expected coordinates of shape (..., {self.dim}), got {tuple(x.shape)}{hint}")
        return x.reshape(-1, self.dim)


class GuardedSystem(System):
    r"""A system whose energy is :math:`U_c + \ln(1 + U - U_c)` where :math:`U > U_c`. Made by `System.guarded`.

    A generator that is not yet trained proposes atoms on top of each other, whose energies of 1e9 kJ/mol and more drown
    all others in a loss. Below the cut nothing changes. What is not a number stays so.

    Parameters
    ----------
    system : System
        What to guard.
    cut : float or openmm.unit.Quantity
        :math:`U_c`, in the unit of the system's energy.

    Attributes
    ----------
    system
        As given; every other attribute of the system is this one's too.

    Raises
    ------
    ConfigError
        The cut is not a finite number.

    Source
    ------
    Midgley et al., "Flow Annealed Importance Sampling Bootstrap", ICLR 2023: the energy of alanine
    dipeptide.

    Examples
    --------
    >>> steep = System(lambda x: (x**2).sum(-1), dim=1, temperature_kT=1.0).guarded(100.0)
    >>> steep.energy(torch.tensor([[3.0], [100.0]]))
    tensor([  9.0000, 109.2004])
    >>> steep.evaluations, steep.active
    (2, 1)
    """

    def __init__(self, system: System, cut: float):
        self.system, self.draws = system, system.draws
        self.guard = guard = Guard(cut)
        super().__init__(
            lambda x: guard(system.energy(x)),
            system.dim,
            temperature=system.temperature,
            temperature_kT=None if system.temperature is not None else system.kT,
            topology=system.topology,
        )

    @property
    def unguarded(self) -> System:
        """The system that is guarded."""
        return self.system

    @property
    def evaluations(self) -> int:
        """Energies that went through the guard so far."""
        return self.guard.evaluations

    @property
    def active(self) -> int:
        """How many of them were above the cut."""
        return self.guard.active

    def __deepcopy__(self, memo: dict) -> "GuardedSystem":
        return self  # one record for all copies

    def __getattr__(self, name: str) -> Any:
        if name == "system":  # not there yet: this object is being made
            raise AttributeError(name)
        return getattr(self.system, name)

    def __repr__(self) -> str:
        return f"{self.system!r}.guarded({self.guard.cut:g})"


def from_function(
    energy: Callable[[Tensor], Tensor],
    dim: int,
    temperature_kT: float = 1.0,
    masses: Sequence[float] | None = None,
) -> System:
    """A system in reduced units from any differentiable torch function.

    Parameters
    ----------
    energy : callable
        From (n, dim) to (n,), by operations of torch alone: forces are its gradient.
    dim : int
        Number of coordinates.
    temperature_kT : float, default 1.0
        Thermal energy in the unit of the energy.
    masses : sequence of float, optional
        Of each coordinate; default: 1.

    Returns
    -------
    System

    Raises
    ------
    ConfigError
        The function does not return one energy per row, or has no gradient, or a number is out of range.

    Examples
    --------
    >>> quartic = from_function(lambda x: x[:, 0] ** 4 - x[:, 0] ** 2, dim=1)
    >>> quartic.log_prob(torch.tensor([0.5]))
    tensor(0.1875)
    """
    system = System(energy, dim, temperature_kT=temperature_kT, masses=masses)
    try:
        with torch.enable_grad():
            energies: Any = energy(torch.zeros(2, dim, requires_grad=True))
    except Exception as error:  # whatever a stranger's function raises
        raise ConfigError(
            f"the energy function fails on a tensor of shape (2, {dim}): {error}. It is to map (n, {dim}) to (n,) by "
            "operations of torch alone, which forces need: torch.exp, say, and not np.exp"
        ) from error
    if not isinstance(energies, Tensor) or energies.shape != (2,):
        what = f"shape {tuple(energies.shape)}" if isinstance(energies, Tensor) else type(energies).__name__
        raise ConfigError(f"the energy function must map (n, {dim}) to (n,); for n = 2 it returned {what}")
    if not energies.requires_grad:
        raise ConfigError(
            "the energy function has no gradient, so that forces would be zero: leave out torch.no_grad, detach, item "
            "and NumPy (a constant energy is 0 * x.sum(-1))"
        )
    return system


def check_system(system: Any) -> None:
    """Refuse what is no system, a class or a function in place of one among it.

    Raises
    ------
    ConfigError
    """
    if isinstance(system, System):
        return
    if isinstance(system, type) and issubclass(system, System):
        hint = f"make one of the class first, {system.__name__}()"
    elif callable(system):
        hint = "bcg.systems.from_function(energy, dim=...) makes one of a torch function"
    else:
        hint = "give one of bcg.systems, such as from_openmm(openmm_system, topology, temperature)"
    kind = type(system)
    what = system.__name__ if isinstance(system, type) else f"a {kind.__name__}"
    if kind.__name__ == "System":  # OpenMM's
        what = f"an {kind.__module__.partition('.')[0]}.System"
    raise ConfigError(f"the system is {what}, not a System of bayescg: {hint}")


def check_single(system: Any, work: str) -> None:
    """Refuse a batch of potentials, too, for work that does not keep to one chain for each row of a batch.

    Raises
    ------
    ConfigError
    """
    check_system(system)
    if system.draws is not None and system.draws > 1:
        raise ConfigError(
            f"{work} mixes its configurations, and this system is {system.draws} draws of a potential, among which "
            "they are divided in order: take one draw at a time, fit.system(draw=0), or langevin, overdamped or hmc"
        )
