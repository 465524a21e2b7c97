"""Collective variables without data: the physics is the model, the generator is the guide."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import pyro
import torch
from torch import Tensor

from bayescg.arguments import check_choice, check_numbers
from bayescg.distributions import Boltzmann, GeometricPath
from bayescg.errors import ConfigError
from bayescg.features import UnboundedCoordinates
from bayescg.modelling import Batch, LatentGeneratorModel, Schedule, StagedAnnealing, tempering
from bayescg.systems import DoubleWell, MolecularSystem, System


class EmbeddedPhysics(LatentGeneratorModel):
    r"""Embedded physics (Schöberl, Zabaras, Koutsourelakis 2020): a generator trained on energies alone.

    The guide generates, the model is the physics, extended by a reverse map that reads the latent variables off:

    .. math:: z \sim q(z), \quad x \mid z \sim N(\mu(z), \mathrm{diag}\,\sigma^2(z))
              \qquad \text{against} \qquad x \sim e^{-\beta U(x) / kT} / Z_\beta, \quad z \mid x \sim r(z \mid x)

    Minus the loss is a bound on :math:`\log Z_\beta`; the gap is the Kullback-Leibler divergence from
    :math:`q(x, z)` to :math:`p_\beta(x) r(z \mid x)`, never less than that from q(x) to p(x). The CV of a
    configuration is r(z | x).

    **A Gaussian generator**, for toy systems: r is a diagonal Gaussian, too, and all is learned at once. This
    divergence hardly notices a well that q(x) leaves out: one that holds the fraction m costs m nats. Three things
    guard it. q(z) is a mixture of Gaussians with weights of its own, and every batch holds draws of every component
    in equal number (:class:`bayescg.distributions.StratifiedMixture`). :math:`\beta` rises from `beta_start` to 1 in
    steps that the draws' conditional effective sample size allows, each after the loss has converged. And the opposite
    divergence, from p to q, is added `wake` times, estimated with the draws' own self-normalised weights. What may
    still be lost, :func:`bayescg.analysis.audit` looks for.

    Of a molecule, x are its internal coordinates u, unbounded (:class:`bayescg.features.UnboundedCoordinates`), and
    tempering leads from a standard normal density, in which torsions turn freely, to the Boltzmann distribution with
    the volume element J: :math:`p_\beta(u) \propto N(u; 0, I)^{1-\beta} e^{\beta(J(u) - U / kT)}`. x given z then has
    correlations, the same for all z. The components keep equal weights until :math:`\beta = 1`, so that the networks
    learn those in rare basins as well.

    **A flow**, ``generator="flow"``, for molecules, whose sixty coordinates and more no Gaussian given two numbers can
    hold: x | z is a :class:`bayescg.nets.SplineFlow` that reads z, which are angles; r(z | x) is a wrapped normal
    density, q(z) a mixture of such. Trained at once, z tells nothing: the flow does without. So it is trained in
    stages (:class:`bayescg.modelling.StagedAnnealing`): first the flow alone, as a
    :class:`bayescg.models.BoltzmannGenerator` is; then, from its draws, r and q(z) beside a decoder of where the heavy
    atoms lie, superposed, which is too weak to be right unless z moves the molecule as a whole; then, with r as it is,
    q(z) and the flow that reads z, from weighted draws: the divergence from :math:`p(x) r(z \mid x)` to q(x, z).

    Parameters
    ----------
    system : System
    latent_dim : int
        Number of CVs.
    hidden : sequence of int
        Widths of the hidden layers of generator and reverse map.
    components : int, optional
        Of q(z); 1 for the standard normal density of the paper. Default: 8, with a flow 32.
    wake : float
        Weight of the divergence from p to q; of Gaussian generators.
    beta_start : float, optional
        First inverse temperature, in units of the system's own; 1 for no tempering. Default: 0.02, with a flow 0.1.
    cess : float, optional
        Conditional effective sample size that a step in temperature keeps. Default: 0.9, with a flow 0.5.
    coordinates : UnboundedCoordinates, optional
        Default: those of :func:`bayescg.features.unbounded_coordinates` for a molecule, flat ones for a toy system.
    guard : float, optional
        Energy, in kT above that of the structure which a molecule starts from, above which it grows like a logarithm
        (``bayescg.systems.guard``). Not for toy systems, which can be given guarded. Default: 400, with a
        flow 1000.
    generator : {None, "gaussian", "flow"}
        None: a flow for a molecule.
    layers, bins, buffer, rounds, fresh : int
        Of a flow and its training, as of :class:`bayescg.models.BoltzmannGenerator`.

    References
    ----------
    M. Schöberl, N. Zabaras, P.-S. Koutsourelakis, "Embedded-physics machine learning for coarse-graining and
    collective variable discovery without data", arXiv:2002.10148 (2020), section 2. The wake term: Bornschein, Bengio,
    "Reweighted wake-sleep", ICLR 2015. The stratified mixture: Morningstar et al., "Automatic differentiation
    variational inference with mixtures", AISTATS 2021.

    Examples
    --------
    >>> model, *_ = EmbeddedPhysics.example()
    >>> model.cv(torch.zeros(5, 2)).mean.shape
    torch.Size([5, 1])
    """

    additive = False  # the wake term's weights are those of a whole batch
    citation = "Schöberl, Zabaras, Koutsourelakis, arXiv:2002.10148 (2020)"
    suited: ClassVar[dict[str, dict[str, Any]]] = {
        "gaussian": {"components": 8, "beta_start": 0.02, "cess": 0.9, "guard": 400.0},
        "flow": {"components": 32, "beta_start": 0.1, "cess": 0.5, "guard": 1000.0},
    }
    courses: ClassVar[dict[str, dict[str, Any]]] = {
        "gaussian": {"batch_size": 256, "learning_rate": 5e-3},  # the fit is over soon after the temperatures are
        "flow": {"steps": 26_000, "batch_size": 256, "learning_rate": 1e-3},
    }

    def __init__(
        self,
        system: System,
        latent_dim: int = 1,
        hidden: Sequence[int] = (64, 64),
        components: int | None = None,
        wake: float = 0.5,
        beta_start: float | None = None,
        cess: float | None = None,
        coordinates: UnboundedCoordinates | None = None,
        guard: float | None = None,
        generator: str | None = None,
        layers: int = 6,
        bins: int = 6,
        buffer: int = 50_000,
        rounds: int = 3,
        fresh: int = 300_000,
    ):
        super().__init__()
        if generator is None:
            generator = "flow" if isinstance(system, MolecularSystem) else "gaussian"
        check_choice(generator=(generator, self.suited))
        if generator == "flow" and not isinstance(system, MolecularSystem):
            raise ConfigError("a flow's latent angles are read off a molecule's atoms: use generator='gaussian' here")
        settings: Any = {"layers": layers, "bins": bins, "hidden": hidden, "buffer": buffer, "rounds": rounds}
        settings |= self.suited_to(generator, components=components, beta_start=beta_start, cess=cess, guard=guard)
        check_numbers(wake=(wake, "[0, inf)"))
        self.wake, self.generator = float(wake), generator
        number = settings.pop("components")
        self.begin_generator(system, coordinates, fresh=fresh, **settings)
        self.begin_latent(latent_dim, number, flow=generator == "flow")

    def guide(self, batch: Batch) -> None:
        """Z ~ q(z); x ~ q(x | z). Of draws that a flow learns from, z ~ r(z | x)."""
        with self.latent(batch) as prior:
            if batch.x is None:
                z = None if batch.stage == "plain" else pyro.sample("z", prior)
                pyro.sample("x", self.generated(z, batch))
            elif batch.stage != "plain":
                pyro.sample("z", self.read(batch.x, learns=batch.stage == "reading"))

    def model(self, batch: Batch) -> None:
        """X ~ exp(-beta U(x) / kT), of a molecule as stated above; z ~ r(z | x). Of draws, x or its atoms and z ~ q."""
        with self.latent(batch) as prior:
            if batch.x is None:
                x = pyro.sample("x", (Boltzmann if self.flow else GeometricPath)(self.system, self.beta))
                if batch.stage != "plain":
                    pyro.sample("z", self.read(x))
                return
            z = None if batch.stage == "plain" else pyro.sample("z", prior)
            if batch.stage == "reading" and z is not None:
                pyro.sample("atoms", self.placement(z), obs=self.atoms(batch.x))
            else:
                pyro.sample("x", self.generated(z, batch), obs=batch.x)

    def schedule(self, steps: int, members: int | None, frames: bool) -> Schedule:
        """Beta rises as the draws allow, unless it begins at 1; with a flow, in stages.

        Raises
        ------
        ConfigError
            Refits cannot share the buffers of a flow.
        """
        if not self.flow:
            return tempering(self.beta_start, self.cess, steps, self.wake)
        StagedAnnealing.check_alone(members)
        return StagedAnnealing(self.beta_start, self.cess, steps, self.buffer, self.rounds, self.fresh)

    def cv(self, x: Tensor) -> torch.distributions.Distribution:
        """r(z | x) for positions ``(n, atoms, 3)`` or ``(n, dim)``: batch shape ``(n,)``, event ``(latent_dim,)``."""
        return self.read(self.inputs(x))

    @classmethod
    def example(cls) -> tuple[EmbeddedPhysics, None, None]:
        """A double well in the plane, by the plain bound at its own temperature: a loss with exact gradients."""
        return cls(DoubleWell(), hidden=(8,), components=2, wake=0.0, beta_start=1.0), None, None
