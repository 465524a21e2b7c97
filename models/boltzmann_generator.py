"""Boltzmann generators: a normalising flow that draws configurations with known densities."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import pyro
import torch
from pyro import poutine
from pyro.distributions import TorchDistribution

from bayescg.arguments import check_numbers, check_positive, stated
from bayescg.data import Frames, check_temperature, evenly
from bayescg.distributions import Boltzmann
from bayescg.errors import ConfigError
from bayescg.features import UnboundedCoordinates
from bayescg.modelling import Batch, GeneratorModel, RangeAnnealing, ReweightedAnnealing, Schedule, placing
from bayescg.systems import DoubleWell, MolecularSystem, System


class BoltzmannGenerator(GeneratorModel):
    r"""Boltzmann generator (Noé, Olsson, Köhler, Wu 2019): a flow q(x) trained on energies, on data, or on both.

    By energy the flow is the guide and the physics the model,

    .. math:: x \sim q(x) \qquad \text{against} \qquad x \sim e^{-\beta U(x) / kT + J(x)} / Z_\beta,

    with J the log volume element where x are internal coordinates. Minus the loss is a bound on :math:`\log Z_\beta`;
    the gap is the divergence :math:`\mathrm{KL}(q \| p_\beta)`, which hardly notices a mode that q leaves out. So only
    the hottest temperature, `beta_start`, is learned that way, during the first `warm` of all steps. The others follow
    by reweighted annealing: at each temperature a buffer of draws is weighted to the next,
    :math:`w \propto e^{-\beta U / kT + J} / q`, and :math:`-\sum w \log q(x)` is minimised, the divergence from the
    target to the flow, to which every mode of the buffer counts. The last steps, the fraction `refine`, belong to
    `rounds` at the system's own temperature, each with `fresh` draws more. The densities are exact, hence so are the
    weights of :func:`bayescg.analysis.reweighted`.

    By data the flow is the model of the frames, ``fit(model, frames)``. With `energy_weight` > 0 the first divergence
    is added so many times, beside frames or beside buffers, at the temperature of either.

    Parameters
    ----------
    system : System
    layers : int
        Coupling layers (:class:`bayescg.nets.SplineFlow`).
    bins : int, optional
        Of their splines. Default: 8, of a molecule 6.
    hidden : sequence of int, optional
        Widths of the hidden layers. Default: 32 twice, of a molecule 64 twice.
    beta_start : float, optional
        First inverse temperature, in units of the system's own; 1 for no annealing. Default: 0.02, where barriers of
        fifty kT are one; of a molecule 0.1.
    cess : float
        Conditional effective sample size that a step in temperature keeps.
    buffer : int, optional
        Draws, and energies, of each temperature but the first. Default: 10 000, of a molecule 50 000.
    warm : float, optional
        Fraction of the steps that are trained on energies at `beta_start`. Default: 0.4, of a molecule 0.15.
    rounds : int
        In which more and more draws at the system's own temperature are learned from.
    fresh : int, optional
        Draws, and energies, that each of them adds; the learning rate then begins anew in each. Default: `buffer`, and
        one course of the learning rate for all steps; of a molecule 600 000.
    refine : float, optional
        Fraction of the steps that they have together. Default: 0.2, of a molecule 0.5.
    energy_weight : float
        Of energies beside frames or buffers: a gradient with less noise, for one more energy of each draw of a batch.
    reach : float, optional
        Coordinates of a toy system within this distance of the origin are transformed. Default: its box; 5 without one.
    coordinates : UnboundedCoordinates, optional
        Of a molecule. Default: :func:`bayescg.features.unbounded_coordinates`.
    temperatures : (float, float), optional
        A range from the system's own on, K, of toys kT, that one flow learns, which reads log beta, without frames:
        :class:`bayescg.modelling.RangeAnnealing`, ``temperature`` of :func:`bayescg.analysis.reweighted`. A toy without
        a box wants a `reach` that holds the hot end.
    guard : float, optional
        Energy, in kT above that of the structure which a molecule starts from, above which it grows like a logarithm
        (``bayescg.systems.guard``); ``diagnostics["guarded"]`` counts. Toy systems can be given guarded.

    References
    ----------
    F. Noé, S. Olsson, J. Köhler, H. Wu, "Boltzmann generators", Science 365, eaaw1147 (2019), eqs. (3)-(8). Annealing:
    H. Schopmans, P. Friederich, "Temperature-annealed Boltzmann generators", arXiv:2501.19077 (2025), section 4.

    Examples
    --------
    >>> model, *_ = BoltzmannGenerator.example()
    >>> model.density().log_prob(torch.zeros(5, 2)).shape
    torch.Size([5])
    """

    optional_frames = True
    citation = "Noé, Olsson, Köhler, Wu, Science 365, eaaw1147 (2019), doi:10.1126/science.aaw1147"
    suited: ClassVar[dict[str, dict[str, Any]]] = {
        "toy": dict(bins=8, hidden=(32, 32), beta_start=0.02, buffer=10_000, warm=0.4, fresh=None, refine=0.2),
        "molecule": dict(bins=6, hidden=(64, 64), beta_start=0.1, buffer=50_000, warm=0.15, fresh=600_000, refine=0.5),
    }  # fmt: skip
    courses: ClassVar[dict[str, dict[str, Any]]] = {
        "toy": {"steps": 1500, "batch_size": 256, "learning_rate": 5e-3},  # a minute's work
        "molecule": {"steps": 20_000, "batch_size": 256, "learning_rate": 1e-3},
    }

    def __init__(
        self,
        system: System,
        layers: int = 6,
        bins: int | None = None,
        hidden: Sequence[int] | None = None,
        beta_start: float | None = None,
        cess: float = 0.5,
        buffer: int | None = None,
        warm: float | None = None,
        rounds: int = 3,
        fresh: int | None = None,
        refine: float | None = None,
        energy_weight: float = 0.0,
        reach: float | None = None,
        coordinates: UnboundedCoordinates | None = None,
        guard: float = 1000.0,
        temperatures: Sequence[float] | None = None,
    ):
        super().__init__()
        settings = self.suited_to(
            "molecule" if isinstance(system, MolecularSystem) else "toy",
            bins=bins, hidden=hidden, beta_start=beta_start, buffer=buffer, warm=warm, fresh=fresh, refine=refine,
        )  # fmt: skip
        ReweightedAnnealing.check_fractions(*(fractions := (settings.pop("warm"), settings.pop("refine"))))
        check_numbers(energy_weight=(energy_weight, "[0, inf)"))
        check_positive(**stated(reach=reach))
        self.warm, self.refine = map(float, fractions)
        self.energy_weight, self.reach = float(energy_weight), reach
        self.begin_generator(system, coordinates, guard=guard, layers=layers, cess=cess, rounds=rounds, **settings)
        self.temperatures, self.low = temperatures, self.range_of(temperatures)
        if energy_weight and temperatures:
            raise ConfigError("energies teach at one temperature: give energy_weight, or temperatures, not both")
        self.flow = self.flow_over(context=int(self.low is not None))
        self.flow.place(*placing(self.system, reach))

    def guide(self, batch: Batch) -> None:
        """X ~ q(x), where energies teach."""
        with batch.plate("frames"):
            if batch.x is None:
                pyro.sample("x", self.density())
            elif self.energy_weight:
                with poutine.scale(scale=self.energy_weight):
                    pyro.sample("drawn", self.density(), infer={"is_auxiliary": True})

    def model(self, batch: Batch) -> None:
        """X ~ exp(-beta U(x) / kT), times the volume of x; of given configurations, x ~ q(x)."""
        with batch.plate("frames"):
            if batch.x is None:
                pyro.sample("x", Boltzmann(self.system, self.beta))
            else:
                pyro.sample("x", self.density(batch.beta), obs=batch.x)
                if self.energy_weight:
                    with poutine.scale(scale=self.energy_weight):
                        pyro.sample("drawn", Boltzmann(self.system, self.beta))

    def density(self, beta: torch.Tensor | None = None) -> TorchDistribution:
        """q(x) at the present temperature, or at those given (B,); stiff coordinates are as wide as they are hot."""
        beta = (self.beta if beta is None else beta)[..., None]
        widen = 1.0 if self.system.reference is None else beta.rsqrt()
        return self.flow(None if self.low is None else -beta.log(), widen)

    def schedule(self, steps: int, members: int | None, frames: bool) -> Schedule:
        """Without frames, and unless beta begins at 1, reweighted annealing.

        Raises
        ------
        ConfigError
            Refits cannot share a buffer, and frames are of one temperature.
        """
        if frames and self.low is not None:
            raise ConfigError("frames teach one temperature: give temperatures, or fit the model to frames, not both")
        if frames:
            return Schedule(energies=int(self.energy_weight > 0))
        if self.beta_start >= 1:
            return Schedule()
        ReweightedAnnealing.check_alone(members)
        both = self.energy_weight > 0
        common = {"start": self.beta_start, "cess": self.cess, "steps": steps, "count": self.buffer, "warm": self.warm}
        common |= {"rounds": self.rounds, "fresh": self.fresh, "refine": self.refine}
        return ReweightedAnnealing(both=both, **common) if self.low is None else RangeAnnealing(self.low, **common)

    def setup(self, frames: Frames) -> None:
        """Centre and scale of the flow are mean and standard deviation of the frames' coordinates, unless circular.

        Raises
        ------
        DataError
            The frames are at another temperature than the system.
        """
        check_temperature(frames, self.system.kT)
        x = self.inputs(torch.as_tensor(frames.gather(evenly(frames))))
        self.flow.place(x.mean(0), x.std(0, correction=0).clamp_min(1e-6))

    @classmethod
    def example(cls) -> tuple[BoltzmannGenerator, None, None]:
        """A double well in the plane, by the plain bound at its own temperature."""
        return cls(DoubleWell(), layers=2, bins=3, hidden=(4,), beta_start=1.0), None, None
