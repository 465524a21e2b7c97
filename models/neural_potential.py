"""A potential energy learned from energies and forces, with error bars where it has seen little."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from typing import Any, ClassVar, Self

import numpy as np
import pyro
import pyro.distributions as dist
import torch
from torch import Tensor, nn
from torch.func import functional_call

from bayescg import nets
from bayescg.arguments import check_counts, check_flags, check_positive, names_of, stated
from bayescg.data import Frames, evenly
from bayescg.errors import ConfigError, DataError
from bayescg.modelling import Batch, PotentialModel, not_in_a_file
from bayescg.systems import MorseCluster
from bayescg.topologies import kinds_of

Energy = Callable[[Tensor, Tensor], Tensor]


class NeuralPotential(PotentialModel):
    r"""A potential of particles from energies and forces, by a network of neighbours or any module of yours.

    .. math:: E \sim N(U(x), n s_E^2), \qquad F \sim N(-\nabla U(x), s_F^2)

    U is a sum over the n particles, each of which sees its neighbours (:class:`bayescg.nets.ParticleEnergy`): it does
    not change with rotations, translations and exchanges of like particles, and is one of any number of them. Both
    widths are learned: no weights of two losses are set by hand. Energies, forces, or both: what a frame lacks (an
    energy that is NaN, forces of all frames) is not learned from.

    Labels of an engine have no noise: what is left is the model's own misfit, and the posterior of its weights, which
    takes it for noise, is a generalised one. How wide it must be, held-out frames tell
    (:func:`bayescg.analysis.calibrated`).

    Parameters
    ----------
    topology : topology, optional
        Of the molecule: kinds are its elements.
    kinds : sequence of str, optional
        The kind of every particle, in place of the elements. Without both, the frames tell; particles of frames without
        a topology are all alike.
    species : sequence of str, optional
        All kinds that the network knows, where `kinds` are some of them.
    energy : Module, optional
        Any energy ``(n,)`` of positions ``(n, atoms, 3)``, in nm and kJ/mol or the unit of the frames, in place of the
        network: that of another package in a module that calls it, say. It must be differentiable twice by `torch.func`
        and begins with the weights that it has.
    random : sequence of str
        Which weights are uncertain: names of the network's parameters, or how these begin. Default: all.
    width, blocks, cutoff, handed, activation
        Of the network.
    prior : float
        Standard deviation of what comes out of each layer, a priori; of each weight, where `energy` is supplied.
    dim, temperature, temperature_kT
        The frames tell.

    References
    ----------
    Schütt et al., "SchNet", J. Chem. Phys. 148, 241722 (2018), eq. (9), for learning from energies and forces. Noé,
    Tkatchenko, Müller, Clementi, "Machine learning for molecular simulation", Annu. Rev. Phys. Chem. 71, 361 (2020).
    Thaler, Doehner, Zavadlav, arXiv:2212.07959, for what such error bars do not know.

    Examples
    --------
    >>> model, frames, _ = NeuralPotential.example()
    >>> model.setup(frames)
    >>> model.potential(torch.as_tensor(frames.positions)).shape
    torch.Size([24])
    """

    kind = "generalised"
    conditional = True
    uncertainty = "laplace"
    training_defaults: ClassVar[dict[str, Any]] = {"steps": 3000, "learning_rate": 1e-2, "batch_size": 32}
    citation = "Schütt et al., J. Chem. Phys. 148, 241722 (2018), doi:10.1063/1.5019779"
    shift: Tensor
    scale: Tensor
    sizes: Tensor
    numbers: Tensor

    def __init__(
        self,
        topology: Any = None,
        kinds: Sequence[str] | None = None,
        species: Sequence[str] | None = None,
        energy: nn.Module | None = None,
        random: Sequence[str] = ("",),
        width: int = 16,
        blocks: int = 1,
        cutoff: float | None = None,
        handed: bool = True,
        activation: str = "silu",
        prior: float = 4.0,
        dim: int | None = None,
        temperature: float | None = None,
        temperature_kT: float | None = None,
    ):
        super().__init__()
        check_flags(handed=handed)
        check_counts(width=(width, 1), blocks=(blocks, 0))
        check_positive(prior=prior, **stated(cutoff=cutoff))
        nets.check_smooth(activation)
        if energy is not None and not isinstance(energy, nn.Module):
            raise ConfigError(f"energy= is a {type(energy).__name__}: give a torch module from positions to energies")
        self.random, self.width, self.blocks, self.cutoff = names_of(random, "random"), width, blocks, cutoff
        self.handed, self.activation, self.prior = handed, activation, float(prior)
        self.register_buffer("shift", torch.zeros(()))  # energy of a particle
        self.register_buffer("scale", torch.ones(()))  # energy of what the network calls 1
        self.register_buffer("sizes", torch.ones(2))  # of energies, a particle, and of forces
        self.log_noise = nn.Parameter(torch.zeros(2))  # in these
        self.net: Any = None if energy is None else nets.SuppliedEnergy(energy)
        self.energy = None if energy is None else type(energy).__name__  # a file of a fit holds its weights alone
        self.kinds = None if kinds is None else names_of(kinds, "kinds")
        self.species = None if species is None else names_of(species, "species")
        self.begin_potential(topology, dim, temperature, temperature_kT)
        if self.kinds is not None or self.topology is not None:
            self._build(self.kinds or kinds_of(self.topology))

    def _build(self, kinds: Sequence[str]) -> None:
        self.kinds, self.species = tuple(kinds), self.species or tuple(sorted(set(kinds)))
        self.register_buffer("numbers", self._numbers(kinds), persistent=False)
        if self.net is None:
            settings = {"cutoff": self.cutoff, "handed": self.handed, "activation": self.activation}
            self.net = nets.ParticleEnergy(len(self.species), self.width, self.blocks, **settings)

    def _numbers(self, kinds: Sequence[str]) -> Tensor:
        species = self.species or ()
        if unknown := sorted(set(kinds) - set(species)):
            raise DataError(
                f"this {type(self).__name__} knows particles of kind {', '.join(species)}, not {', '.join(unknown)}: "
                "train it on frames that have them"
            )
        return torch.tensor([species.index(kind) for kind in kinds])

    def of(self, kinds: Sequence[str]) -> Self:
        """The same potential of other particles of these kinds, for :meth:`bayescg.Fit.transferred`.

        Raises
        ------
        DataError
            It was not trained on one of the kinds.
        """
        other = copy.deepcopy(self)
        other.kinds, other.dim, other.topology = tuple(kinds), 3 * len(kinds), None
        other.numbers = self._numbers(kinds).to(self.shift.device)
        return other

    def setup(self, frames: Frames) -> None:
        """Take the kinds of the particles, and the sizes of distances, energies and forces.

        Raises
        ------
        DataError
            There are neither energies nor forces, particles lie in one place, or coordinates are not three a particle.
        """
        super().setup(frames)
        labels = np.zeros(0) if frames.energy is None else frames.energy[~np.isnan(frames.energy)]
        if frames.forces is None and len(labels) < 2:
            raise DataError(
                "the frames have neither energies nor forces: sample with energy=True, forces=True, or give them to "
                "Frames.from_numpy(energy=..., forces=...)"
            )
        rows, dim = evenly(frames, 1000), self.dim or 0
        if dim % 3:
            raise DataError(f"{dim} coordinates are not three for each particle: it learns from positions in space")
        if self.kinds is None:
            self._build(("particle",) * (dim // 3) if self.topology is None else kinds_of(self.topology))
        x = torch.as_tensor(frames.gather(rows)).view(len(rows), -1, 3)
        nets.check_apart(x, rows.tolist())
        self.to(x.dtype)
        if isinstance(self.net, nets.ParticleEnergy):
            self.net.measure(x)
        self.reset()
        energy, forces = (v.detach() for v in self._labels(self.net, x))
        spread, slope = float(labels.std()) if len(labels) > 1 else 0.0, float(forces.square().mean().sqrt())
        size = None if frames.forces is None else float(np.sqrt(np.square(frames.gather(rows, "forces")).mean()))
        factor = spread / float(energy.std()) if size is None else size / slope
        self.sizes.copy_(torch.tensor([spread / x.shape[1] ** 0.5 or factor, factor * slope]))
        if not isinstance(self.net, nets.SuppliedEnergy):
            self.scale.fill_(factor)
            self.shift.fill_(float(labels.mean()) / x.shape[1] if len(labels) else 0.0)

    def potential(self, x: Tensor) -> Tensor:
        """Energies ``(n,)`` of positions ``(n, atoms, 3)`` or ``(n, 3 atoms)``."""
        return self._energy(self.net, x)

    def model(self, batch: Batch) -> None:
        """Weights ~ N(0, prior^2 / inputs); energies and forces given them."""
        net, widths = self._random_net(), self._widths()
        assert batch.x is not None
        energy, forces = self._labels(net, batch.x)
        with batch.plate("frames"):
            if batch.energy is not None:
                labels = dist.Normal(energy, widths[0]).mask(~batch.energy.isnan())
                pyro.sample("energy", labels, obs=batch.energy.nan_to_num())
            if batch.forces is not None:
                pyro.sample("forces", dist.Normal(forces, widths[1]).to_event(1), obs=batch.forces.flatten(1))

    def guide(self, batch: Batch) -> None:
        """Nothing is hidden."""

    def inefficiency(self, frames: Frames) -> float:
        """Labels have no noise that frames could share: each tells what it tells."""
        return 1.0

    def information(self, batch: Batch) -> Tensor:
        """Energies and forces in units of their noise; see `Model.information`."""
        assert batch.x is not None
        widths = self._widths().detach()
        energy, forces = self._labels(self.net, batch.x)
        weight = torch.ones_like(energy) if batch.weight is None else batch.weight
        columns = [] if batch.energy is None else [torch.where(batch.energy.isnan(), 0.0, energy / widths[0])[:, None]]
        columns += [] if batch.forces is None else [forces / widths[1]]
        return (torch.cat(columns, 1) * weight.sqrt()[:, None]).flatten()

    def reset(self) -> None:
        """Weights of layers whose outputs are of size 1, or those of a supplied energy; noise a tenth of the labels."""
        nn.init.constant_(self.log_noise, -2.3)
        if isinstance(self.net, nets.SuppliedEnergy):
            self.net.begin()
        elif self.net is not None:
            for p in self.net.parameters():
                nn.init.normal_(p, 0.0, p.shape[-1] ** -0.5 if p.dim() > 1 else 0.1)

    def _energy(self, net: Energy, x: Tensor) -> Tensor:
        x = x.view(len(x), -1, 3)
        return self.shift * x.shape[1] + self.scale * net(x, self.numbers)

    def _labels(self, net: Energy, x: Tensor) -> tuple[Tensor, Tensor]:
        """Energies ``(n,)`` and forces ``(n, 3 atoms)``."""
        return nets.energy_and_forces(lambda y: self._energy(net, y), x)

    def _random_net(self) -> Energy:
        prior = nets.gaussian if isinstance(self.net, nets.SuppliedEnergy) else nets.fan_in
        weights = [(k, p) for k, p in self.net.named_parameters() if k.startswith(self.random)]
        values = {k: pyro.sample(f"net.{k}", prior(self.prior)(p)) for k, p in weights}
        return lambda *inputs: functional_call(self.net, values, inputs)

    def _widths(self) -> Tensor:
        """Of the noise of energies and of forces."""
        width = self.log_noise.exp() * self.sizes
        return torch.stack([width[0] * (self.dim or 1) ** 0.5 / 3**0.5, width[1]])

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Self:
        """Model with the given configuration."""
        if config["energy"] is not None:
            raise not_in_a_file(cls, "energy", config["energy"])
        return super().from_config(config)

    def completed(self, config: dict[str, Any]) -> Self:
        """With the particles and the temperature that the fit was trained on."""
        return self.remade(config, energy=self.net.energy if isinstance(self.net, nets.SuppliedEnergy) else None)

    @classmethod
    def example(cls) -> tuple[NeuralPotential, Any, None]:
        """A few frames of four Morse particles."""
        system = MorseCluster(4)
        x = torch.as_tensor(system.start).flatten() + 0.1 * torch.randn(
            24, 12, generator=torch.Generator().manual_seed(0)
        )
        labels: dict[str, Any] = {"energy": system.energy(x).numpy(), "forces": system.forces(x).numpy()}
        frames = Frames.from_numpy(x.numpy(), unit="reduced", temperature_kT=0.25, **labels)
        return cls(kinds=["particle"] * 4, width=4, cutoff=3.0, dim=12, temperature_kT=0.25), frames, None
