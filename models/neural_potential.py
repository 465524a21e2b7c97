"""A potential energy learned from energies and forces, with error bars where it has seen little."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar, cast

import numpy as np
import pyro
import pyro.distributions as dist
import torch
from torch import Tensor, nn

from bayescg import nets
from bayescg.arguments import check_counts, check_positive
from bayescg.data import Frames, evenly
from bayescg.errors import ConfigError, DataError
from bayescg.modelling import Batch, PotentialModel
from bayescg.systems import MorseCluster


class NeuralPotential(PotentialModel):
    r"""Energies and forces of configurations, :math:`E \sim N(U(x), n s_E^2)` and :math:`F \sim N(-\nabla U(x), s_F^2)`.

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
    energy : Module, optional
        Any energy ``(n,)`` of positions ``(n, atoms, 3)``, in nm and kJ/mol or the unit of the frames, in place of the
        network: that of another package in a module that calls it, say. It must be differentiable twice and begins with
        the weights that it has; only those named in `random` are uncertain.
    random : sequence of str
        Which weights are uncertain: names of the network's parameters, or how these begin. Default: all of them.
    width, blocks, cutoff, handed, activation
        Of the network.
    prior : float
        Standard deviation of what comes out of each layer, a priori.
    dim, temperature, temperature_kT
        As the frames tell.

    References
    ----------
    Schütt et al., "SchNet", J. Chem. Phys. 148, 241722 (2018), eq. (9), for learning from energies and forces. Noé,
    Tkatchenko, Müller, Clementi, "Machine learning for molecular simulation", Annu. Rev. Phys. Chem. 71, 361 (2020),
    section 4.1. Thaler, Doehner, Zavadlav, arXiv:2212.07959, for what its error bars do not know.

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
    energy_unit: Tensor
    force_unit: Tensor

    def __init__(
        self,
        topology: Any = None,
        kinds: Sequence[str] | None = None,
        energy: nn.Module | None = None,
        random: Sequence[str] = ("",),
        width: int = 16,
        blocks: int = 1,
        cutoff: float | None = None,
        handed: bool = True,
        activation: str = "silu",
        prior: float = 1.0,
        dim: int | None = None,
        temperature: float | None = None,
        temperature_kT: float | None = None,
    ):
        super().__init__()
        check_counts(width=(width, 1), blocks=(blocks, 0))
        check_positive(prior=prior, **({} if cutoff is None else {"cutoff": cutoff}))
        nets.check_smooth(activation)
        if energy is not None and not isinstance(energy, nn.Module):
            raise ConfigError(f"energy= is a {type(energy).__name__}: give a torch module from positions to energies")
        self.random, self.width, self.blocks, self.cutoff = tuple(random), width, blocks, cutoff
        self.handed, self.activation, self.prior = handed, activation, float(prior)
        self.energy = energy
        self.kinds = None if kinds is None else tuple(map(str, kinds))
        for name in ("shift", "energy_unit", "force_unit"):
            self.register_buffer(name, torch.zeros(()) if name == "shift" else torch.ones(()))
        self.log_energy_noise, self.log_force_noise = nn.Parameter(torch.zeros(())), nn.Parameter(torch.zeros(()))
        self.begin_potential(topology, dim, temperature, temperature_kT)
        if self.kinds is None and self.topology is not None:
            self.kinds = kinds_of(self.topology)
        if self.kinds is not None or energy is not None:
            self._build()

    def _build(self) -> None:
        self.species = sorted(set(self.kinds or ()))
        if self.energy is None:
            self.net: nn.Module = nets.ParticleEnergy(
                len(self.species), self.width, self.blocks, cutoff=self.cutoff, handed=self.handed,
                activation=self.activation,
            )  # fmt: skip
        else:
            self.net = _Supplied(self.energy)

    def setup(self, frames: Frames) -> None:
        """Take the kinds of particles, and the sizes of distances, energies and forces.

        Raises
        ------
        DataError
            There are neither energies nor forces, particles lie in one place, or the coordinates are not three for each
            particle.
        """
        super().setup(frames)
        if frames.forces is None and (frames.energy is None or np.isnan(frames.energy).all()):
            raise DataError(
                "the frames have neither energies nor forces: sample with energy=True, forces=True, or give them to "
                "Frames.from_numpy(energy=..., forces=...)"
            )
        assert self.dim is not None
        if self.dim % 3:
            raise DataError(f"{self.dim} coordinates are not three for each particle")
        if self.kinds is None:
            self.kinds = kinds_of(self.topology) if self.topology is not None else ("particle",) * (self.dim // 3)
        if not hasattr(self, "net"):
            self._build()
        rows = evenly(frames, 2000)
        x = torch.as_tensor(frames.gather(rows)).view(len(rows), -1, 3)
        _check_apart(x, rows)
        self.to(x.dtype)
        if isinstance(self.net, nets.ParticleEnergy):
            self.net.measure(x)
        energy = None if frames.energy is None else torch.as_tensor(frames.energy[~np.isnan(frames.energy)])
        if energy is not None and len(energy):
            self.shift.copy_(energy.mean() / x.shape[1])
            self.energy_unit.copy_((energy.std(correction=0) / x.shape[1] ** 0.5).clamp_min(1e-12))
        if frames.forces is not None:
            self.force_unit.copy_(torch.as_tensor(frames.gather(rows, "forces")).square().mean().sqrt())
            if energy is None or len(energy) < 2:
                self.energy_unit.copy_(self.force_unit * x.std(0).mean())
        else:
            self.force_unit.copy_(self.energy_unit)

    def potential(self, x: Tensor) -> Tensor:
        """Energies ``(n,)`` of positions ``(n, atoms, 3)`` or ``(n, 3 atoms)``.

        Raises
        ------
        DataError
            There are other particles than it was trained on: of another number, and not all of one kind.
        """
        return self._energy_of(self.net, x)

    def model(self, batch: Batch) -> None:
        """Weights ~ N(0, prior^2 / inputs); energies and forces given them."""
        net = self._random_net()
        noise = {name: pyro.sample(name, nets.gaussian(3.0)(getattr(self, name))) for name in _NOISE}
        assert batch.x is not None
        energy, forces = self._predicted(net, batch)
        with batch.plate("frames"):
            if energy is not None and batch.energy is not None:
                width = noise["log_energy_noise"].exp() * self._spread()
                labels = dist.Normal(energy, width).mask(~batch.energy.isnan())
                pyro.sample("energy", labels, obs=batch.energy.nan_to_num())
            if forces is not None and batch.forces is not None:
                width = noise["log_force_noise"].exp() * self.force_unit
                pyro.sample("forces", dist.Normal(forces, width).to_event(1), obs=batch.forces.flatten(1))

    def guide(self, batch: Batch) -> None:
        """Nothing is hidden."""
