"""A potential energy learned from energies and forces, with error bars where it has seen little."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, ClassVar, Self

import pyro
import pyro.distributions as dist
import torch
from torch import Tensor, nn

from bayescg import nets
from bayescg.arguments import check_counts, check_flags, check_positive, names_of, stated
from bayescg.data import Frames, evenly
from bayescg.modelling import Batch, ParticleModel
from bayescg.systems import MorseCluster


class NeuralPotential(ParticleModel):
    r"""A potential of particles from energies and forces, by a network of neighbours or any module of yours.

    .. math:: E \sim N(U(x), n s_E^2), \qquad F \sim N(-\nabla U(x), s_F^2)

    U is a sum over the n particles, each of which sees its neighbours (:class:`bayescg.nets.ParticleEnergy`): it does
    not change with rotations, translations and exchanges of like particles, and is one of any number of them. Both
    widths are learned: no weights of two losses are set by hand. Energies, forces, or both: what a frame lacks (an
    energy that is NaN, forces of all frames) is not learned from.

    Labels of an engine have no noise: what is left is the model's own misfit, and the posterior of its weights, which
    takes it for noise, is a generalised one. Held-out frames tell its width (:func:`bayescg.analysis.calibrated`).

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
    supplied = "energy"
    training_defaults: ClassVar[dict[str, Any]] = {"steps": 3000, "learning_rate": 1e-2, "batch_size": 32}
    citation = "Schütt et al., J. Chem. Phys. 148, 241722 (2018), doi:10.1063/1.5019779"
    shift: Tensor
    scale: Tensor
    sizes: Tensor

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
        self.random, self.width, self.blocks, self.cutoff = names_of(random, "random"), width, blocks, cutoff
        self.handed, self.activation, self.prior = handed, activation, float(prior)
        self.register_buffer("shift", torch.zeros(()))  # energy of a particle
        self.register_buffer("scale", torch.ones(()))  # energy of what the network calls 1
        self.register_buffer("sizes", torch.ones(2))  # of energies, a particle, and of forces
        self.log_noise = nn.Parameter(torch.zeros(2))  # in these
        self.net: Any = None if energy is None else nets.SuppliedEnergy(energy)
        self.energy = None if energy is None else type(energy).__name__  # a file of a fit holds its weights alone
        self.begin_particles(topology, kinds, species, dim, temperature, temperature_kT)

    def build(self, kinds: int) -> None:
        """The network, where none is supplied."""
        if self.net is None:
            settings: Any = {"cutoff": self.cutoff, "handed": self.handed, "activation": self.activation}
            self.net = nets.ParticleEnergy(kinds, self.width, self.blocks, **settings)

    def setup(self, frames: Frames) -> None:
        """Take the kinds of the particles, and the sizes of distances, energies and forces.

        Raises
        ------
        DataError
            There are neither energies nor forces, particles lie in one place, or coordinates are not three a particle.
        """
        super().setup(frames)
        rows = evenly(frames, 1000)
        x = torch.as_tensor(frames.gather(rows)).view(len(rows), -1, 3)
        nets.check_apart(x, rows.tolist())
        self.to(x.dtype)
        if isinstance(self.net, nets.ParticleEnergy):
            self.net.measure(x)
        self.reset()
        first = nets.LabelSizes.of(frames, rows, self._labels(self.net, x))
        self.sizes.copy_(first.sizes)
        if not isinstance(self.net, nets.SuppliedEnergy):
            self.scale.fill_(first.factor)
            self.shift.fill_(first.shift)

    def potential(self, x: Tensor, net: Callable[..., Tensor] | None = None) -> Tensor:
        """Energies ``(n,)`` of positions ``(n, atoms, 3)`` or ``(n, 3 atoms)``; of a `net` of other weights, its."""
        x = x.view(len(x), -1, 3)
        return self.shift * x.shape[1] + self.scale * (net or self.net)(x, self.numbers)

    def model(self, batch: Batch) -> None:
        """Weights ~ N(0, prior^2 / inputs); energies and forces given them."""
        net, widths = nets.random_net(self, "net", self.net.prior(self.prior), self.random), self._widths()
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
        widths = self._widths().detach()
        energy, forces = self._labels(self.net, batch.x)
        weight = torch.ones_like(energy) if batch.weight is None else batch.weight
        columns = [] if batch.energy is None else [torch.where(batch.energy.isnan(), 0.0, energy / widths[0])[:, None]]
        columns += [] if batch.forces is None else [forces / widths[1]]
        return (torch.cat(columns, 1) * weight.sqrt()[:, None]).flatten()

    def reset(self) -> None:
        """Weights of layers whose outputs are of size 1, or those of a supplied energy; noise a tenth of the labels."""
        nn.init.constant_(self.log_noise, -2.3)
        if self.net is not None:
            self.net.begin()

    def _labels(self, net: Callable[..., Tensor], x: Tensor | None) -> tuple[Tensor, Tensor]:
        """Energies ``(n,)`` and forces ``(n, 3 atoms)``."""
        assert x is not None
        return nets.energy_and_forces(lambda y: self.potential(y, net), x)

    def _widths(self) -> Tensor:
        """Of the noise of energies and of forces."""
        width = self.log_noise.exp() * self.sizes
        return torch.stack([width[0] * (self.dim or 1) ** 0.5 / 3**0.5, width[1]])

    def completed(self, config: dict[str, Any]) -> Self:
        """With the particles and the temperature that the fit was trained on."""
        return self.remade(config, energy=self.net.energy if isinstance(self.net, nets.SuppliedEnergy) else None)

    @classmethod
    def example(cls) -> tuple[NeuralPotential, Any, None]:
        """A few frames of four Morse particles."""
        system = MorseCluster(4)
        noise = torch.randn(24, 12, generator=torch.Generator().manual_seed(0))
        x = torch.as_tensor(system.start).flatten() + 0.1 * noise
        labels: dict[str, Any] = {"energy": system.energy(x).numpy(), "forces": system.forces(x).numpy()}
        frames = Frames.from_numpy(x.numpy(), unit="reduced", temperature_kT=0.25, **labels)
        return cls(kinds=["particle"] * 4, width=4, cutoff=3.0, dim=12, temperature_kT=0.25), frames, None
