"""What an experiment file may say: one class per section, unknown keys refused."""

from typing import Annotated, Any, Literal, Self

from pydantic import ConfigDict, Field, model_validator

from bayescg.questions.reading_order import QUESTIONS, Analysis
from bayescg.questions.sections import Names, Range, Section

__all__ = [
    "Analysis",
    "Beside",
    "CoarseGraining",
    "Compare",
    "Data",
    "Experiment",
    "Labels",
    "LongSteps",
    "Named",
    "Seeding",
    "Shooting",
    "Simulation",
    "Training",
    "Umbrella",
]


Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")]
"""Of files, too."""


class About(Section):
    """``[experiment]``: what it is called and where it was published."""

    name: Name
    description: str = ""
    cite: Names = Field(default=[])


class Run(Section):
    """``[run]``: how it runs; mostly set on the command line.

    `quick` says that all sizes are those of a quick run: ``--quick`` sets it, and results repeat it.
    """

    seed: int = Field(default=0, ge=0)
    device: Literal["auto", "cpu", "cuda"] = "auto"
    compile: Literal["auto", "trace", "off"] = "auto"
    quick: bool = False


class Named(Section):
    """A name and the arguments of what it names: ``[system]``, ``[features]``, ``[model]``.

    The string ``"none"`` stands for Python's None, which TOML lacks.
    """

    model_config = ConfigDict(extra="allow", strict=True, frozen=True)

    name: str

    @property
    def arguments(self) -> dict[str, Any]:
        """All keys but the name."""
        return {k: None if v == "none" else v for k, v in (self.model_extra or {}).items()}


class Simulation(Section):
    """``[simulation]``: dynamics of the system; ps, s and K, or its own units.

    `engine` is OpenMM (:func:`bayescg.sampling.molecular_dynamics`), in so many `processes` and at most for
    `wall_limit`, or all `chains` in one batch (:func:`bayescg.sampling.batched_dynamics`), which knows neither, and may
    begin in equilibrium by tempering at `temperatures`. Toy systems are simulated by ``"overdamped"`` dynamics
    (:func:`bayescg.sampling.overdamped`), at their own kT or at `temperature_kT`, whose frames are then weighted; all
    chains begin at the point `start`, if there is one.
    """

    time: float = Field(gt=0)
    engine: Literal["openmm", "batched", "overdamped"] = "openmm"
    chains: int = Field(default=4, ge=1)
    dt: float = Field(default=0.002, gt=0)
    friction: float = Field(default=1.0, gt=0)
    frame_every: float = Field(default=1.0, gt=0)
    equilibration: float = Field(default=20.0, ge=0)
    processes: int = Field(default=2, ge=1)
    wall_limit: float | None = Field(default=None, gt=0)
    temperatures: list[float] | None = None
    temperature_kT: float | None = Field(default=None, gt=0)
    start: list[float] | None = Field(default=None, min_length=1)

    @model_validator(mode="after")
    def _suits_the_engine(self) -> Self:
        if self.temperatures is not None and self.engine == "openmm":
            raise ValueError('simulation.temperatures does nothing with simulation.engine = "openmm"; use "batched"')
        if self.temperature_kT is not None and self.engine != "overdamped":
            raise ValueError('simulation.temperature_kT is for simulation.engine = "overdamped" only')
        if self.start is not None and self.engine != "overdamped":
            raise ValueError('simulation.start is for simulation.engine = "overdamped" only')
        return self


class Data(Section):
    """``[data]``: your own frames, in place of a simulation, and which frames and atoms to keep of either.

    The keys are arguments of :func:`bayescg.data.load`, but for `lag`: the time between the frames of a pair (ps, or
    the unit of a toy system), for models that learn from pairs; and `coordinates`, the only ones of a toy system that
    are kept, such as ``["x1"]``, with the forces along them.
    """

    frames: Names | None = Field(default=None, min_length=1)
    top: str | None = None
    unit: str | None = None
    stride: int = Field(default=1, ge=1)
    select: str | None = None
    temperature: float | None = Field(default=None, gt=0)
    dt: float | None = Field(default=None, gt=0)
    whole: bool = False
    lag: float | None = Field(default=None, gt=0)
    coordinates: Names | None = Field(default=None, min_length=1)
    equilibrium: bool = False

    @model_validator(mode="after")
    def _has_a_lag(self) -> Self:
        if self.equilibrium and self.lag is None:
            raise ValueError("data.equilibrium makes weights of pairs: give data.lag")
        return self


class Shooting(Section):
    """``[shooting]``: shots from configurations between states, which a committor is learned from.

    `states` are names of the system's own (:attr:`bayescg.systems.System.states`) or of ``analysis.regions``; the model
    must have them in the same order. Configurations are as flat as can be in energy, or `over` observables
    (:func:`bayescg.sampling.flattened`: `heat`, `ceiling`, `hot_steps`, `chains`); of each so many `shots` of at most
    so many `steps` begin, at `shot_heat` times the temperature (:func:`bayescg.sampling.commitment`).
    """

    states: Names = Field(min_length=2)
    configurations: int = Field(default=600, ge=10)
    shots: int = Field(default=20, ge=1)
    shot_heat: float = Field(default=1.0, ge=1)
    dt: float = Field(gt=0)
    dynamics: Literal["overdamped", "langevin"] = "overdamped"
    friction: float = Field(default=1.0, gt=0)
    steps: int = Field(default=100_000, ge=1)
    heat: float = Field(default=3.0, gt=0)
    ceiling: float | None = Field(default=None, gt=0)
    over: Names = Field(default=[])
    hot_steps: int = Field(default=20_000, ge=1)
    chains: int = Field(default=100, ge=1)


class Umbrella(Section):
    """``[umbrella]``: windows along the first CV of the fit, arguments of :func:`bayescg.sampling.umbrella`.

    With it a run learns from shots, simulates under the bias of what it learned, and asks about the biased frames. Or
    windows lie along an observable of the beads, ``coarse_graining.across``.
    """

    steps: int = Field(ge=1)
    dt: float = Field(gt=0)
    windows: int = Field(default=20, ge=2)
    walkers: int = Field(default=16, ge=1)
    friction: float | None = Field(default=None, gt=0)
    exchange_every: Annotated[int, Field(ge=1)] | Literal["none"] = 10
    stride: int = Field(default=50, ge=1)
    equilibration: int | None = Field(default=None, ge=0)


class CoarseGraining(Section):
    """``[coarse_graining]``: beads, the forces on them, and dynamics of the potential that is learned from these.

    `beads` and `centre` are arguments of :func:`bayescg.features.beads`, `aggregation` of
    :func:`bayescg.sampling.mapped_forces`. So many `chains` of Langevin dynamics, divided among so many `draws` of the
    potential, begin at frames of the training and take `time`, after `equilibration`, all in ps; each bead has a mass
    of 1 dalton. Frames of the basin `without`, one of ``analysis.basins``, are kept from the training.

    Frames of ``[umbrella]`` across a range of a torsion of the beads, in degrees, join the training:
    ``across = { phi = [-75.0, 75.0] }``. A bias that depends on the beads alone leaves their mean forces as they are,
    and barriers that dynamics hardly crosses are learned as well as basins.
    """

    beads: str | list[str]
    centre: Literal["mass", "geometry"] = "mass"
    aggregation: Literal["optimal", "basic", "slice"] = "optimal"
    draws: int = Field(default=20, ge=1)
    chains: int = Field(default=1000, ge=1)
    time: float = Field(default=50.0, gt=0)
    dt: float = Field(default=0.001, gt=0)
    friction: float = Field(default=5.0, gt=0)
    frame_every: float = Field(default=0.5, gt=0)
    equilibration: float = Field(default=10.0, ge=0)
    without: str | None = None
    across: Annotated[dict[str, Range], Field(min_length=1, max_length=1)] | None = None

    @model_validator(mode="after")
    def _increasing(self) -> Self:
        for name, (low, high) in (self.across or {}).items():
            if not -180 < low < high < 180:
                raise ValueError(f"coarse_graining.across = {{ {name} = [{low:g}, {high:g}] }}: degrees, -180 to 180")
        return self

    @model_validator(mode="after")
    def _divides(self) -> Self:
        if self.chains % self.draws:
            raise ValueError(f"coarse_graining.chains = {self.chains} is no multiple of draws = {self.draws}")
        return self


class Labels(Section):
    """``[labels]``: a learned potential asks for energies and forces, :func:`bayescg.experiments.active`.

    The keys are arguments of :class:`bayescg.experiments.acquisition.Labels`; the loop ends after `rounds`. It runs a
    second time with labels chosen at random, to compare with. Configurations of ``[simulation]`` begin it, and
    ``fit.held_out`` of them judge it.
    """

    rounds: int = Field(default=4, ge=1)
    first: int = Field(default=20, ge=2)
    batch: int = Field(default=10, ge=1)
    dt: float = Field(gt=0)
    chains: int = Field(default=20, ge=1)
    stretches: int = Field(default=20, ge=1)
    stretch: int = Field(default=50, ge=1)
    friction: float = Field(default=1.0, gt=0)
    heat: float = Field(default=1.0, gt=0)
    draws: int = Field(default=200, ge=2)


class Seeding(Section):
    """``[seeds]``: rounds of short trajectories from where they tell most, :func:`bayescg.experiments.active`.

    A round has ``simulation.chains`` trajectories of ``simulation.time``, those of the first begin at
    ``simulation.start``, and transitions are counted over ``data.lag``. The loop ends after `rounds`, or when
    ``analysis.seeds_quantity`` has an interval and a standard deviation of at most `sd`. `explore` is the share of the
    seeds in the states with the fewest counts. Walkers that simulate as long without new seeds are laid beside.
    """

    rounds: int = Field(default=20, ge=1)
    sd: float = Field(default=0.2, gt=0)
    explore: float = Field(default=0.5, ge=0, le=1)


class LongSteps(Section):
    """``[long_steps]``: a map of the time step ``data.lag`` from short trajectories, and long ones by it.

    So many `pairs` of states a lag apart, to an `accuracy` (:func:`bayescg.sampling.short_trajectories`), begin in the
    canonical ensemble, or between two total `energies` of systems that draw such states. So many `trajectories` begin
    likewise, or between two `start_energies`, and each is followed for so many `steps` by each of so many `draws` of
    the map (none: by the trained one); the rest are arguments of :func:`bayescg.sampling.mapped_dynamics`. A `direct`
    model, an explicit map such as ``"DirectMap"``, learns from the same pairs: iterations begin where it leads, and its
    own trajectories are laid beside. Without a thermostat the same is done by velocity Verlet, with steps of the lag
    and with as many as one of the map takes iterations, unless `verlet` is false.
    """

    pairs: int = Field(default=400, ge=10)
    energies: Range | None = None
    accuracy: float = Field(default=1e-11, gt=0)
    trajectories: int = Field(default=20, ge=1)
    start_energies: Range | None = None
    steps: int = Field(default=10_000, ge=3)
    stride: int = Field(default=10, ge=1)
    draws: int | None = Field(default=None, ge=1)
    thermostat: Literal["langevin", "bussi"] | None = None
    friction: float = Field(default=1.0, gt=0)
    tolerance: float = Field(default=1e-10, gt=0)
    direct: str | None = None
    verlet: bool = True

    @model_validator(mode="after")
    def _is_whole(self) -> Self:
        if self.steps % self.stride:
            raise ValueError(f"long_steps.steps = {self.steps} is no multiple of stride = {self.stride}")
        if self.verlet and self.thermostat is not None:
            raise ValueError("long_steps.verlet compares energies, which a thermostat changes: set verlet = false")
        return self


class Training(Section):
    """``[fit]``: arguments of :func:`bayescg.fit`; `held_out` of all frames is never seen by it."""

    steps: int = Field(default=20_000, ge=1)
    batch_size: int = Field(default=1024, ge=1)
    validation: float = Field(default=0.1, ge=0, lt=1)
    held_out: float = Field(default=0.1, gt=0, lt=1)
    objective: Literal["elbo", "iwae"] | None = None
    particles: int = Field(default=16, ge=1)
    uncertainty: Literal["none", "mean-field", "laplace", "ensemble", "bootstrap"] | None = None
    members: int = Field(default=20, ge=2)
    learning_rate: float = Field(default=2e-3, gt=0)
    checkpoint_every: int = Field(default=500, ge=1)


class Compare(Section):
    """``[compare]``: other models beside that of ``[model]``, all asked the same of the same data, several times over.

    `models` are tables like ``[model]``, by the names that results are given; `fit` is their ``[fit]``, but for
    `held_out`. Models that learn from pairs are given frames `lag` apart, which is also the lag of the timescales and
    scores of all. Each of the `replicates` is simulated, split and fitted anew; frames that were given are split and
    fitted anew. `questions` are names of :data:`bayescg.questions.QUESTIONS` (none: all that apply). `order` names
    those of the models that are expected to fall behind all others, the worst one first.
    """

    models: Annotated[dict[Name, Named], Field(min_length=1)]
    lag: float | None = Field(default=None, gt=0)
    replicates: int = Field(default=5, ge=2)
    fit: Training = Training()
    questions: Names = Field(default=[])
    order: list[str] = Field(default=[])

    @model_validator(mode="after")
    def _names_exist(self) -> Self:
        for name in self.order:
            if name not in self.models:
                raise ValueError(f"compare.order names {name!r}; compared are {', '.join(self.models)}")
        for name in self.questions:
            if name not in QUESTIONS:
                raise ValueError(f"compare.questions names {name!r}; there are {', '.join(QUESTIONS)}")
        return self


class Beside(Section):
    """``[beside.NAME]``: another model, trained on the same frames, to lay beside that of ``[model]``.

    `model` is a table like ``[model]``; `features` and `fit` are those of the experiment where they are absent.
    """

    model: Named
    features: Named | None = None
    fit: Training | None = None


class Experiment(Section):
    """A whole experiment file."""

    experiment: About
    run: Run = Run()
    system: Named | None = None
    simulation: Simulation | None = None
    data: Data = Data()
    features: Named = Named(name="aligned")
    model: Named
    fit: Training = Training()
    shooting: Shooting | None = None
    umbrella: Umbrella | None = None
    coarse_graining: CoarseGraining | None = None
    labels: Labels | None = None
    seeds: Seeding | None = None
    long_steps: LongSteps | None = None
    analysis: Analysis = Analysis()
    compare: Compare | None = None
    beside: dict[Name, Beside] = Field(default={})

    @model_validator(mode="after")
    def _has_frames(self) -> Self:
        if self.data.frames is None and self.system is None:
            raise ValueError("there is nothing to fit: give [data] frames = ..., or both [system] and [simulation]")
        return self

    @model_validator(mode="after")
    def _beside_one_model_of_frames(self) -> Self:
        others = (self.compare, self.umbrella, self.coarse_graining, self.labels, self.seeds, self.long_steps)
        if self.beside and (others != (None,) * 6 or (self.simulation is None and self.data.frames is None)):
            raise ValueError("[beside] is for one model that learns from frames, of a simulation or of your own")
        return self

    @model_validator(mode="after")
    def _shots_for_the_umbrella(self) -> Self:
        across = None if self.coarse_graining is None else self.coarse_graining.across
        if across is not None and self.umbrella is not None and self.simulation is not None:
            every = self.umbrella.stride * self.umbrella.dt
            if abs(every - self.simulation.frame_every) > 1e-6 * every:
                raise ValueError(
                    f"umbrella.stride * umbrella.dt = {every:g}, but simulation.frame_every = "
                    f"{self.simulation.frame_every:g}: frames that are trained on together are as far apart"
                )
        elif across is not None:
            raise ValueError("coarse_graining.across needs [umbrella], and the [simulation] that its windows begin at")
        elif (self.shooting is None) != (self.umbrella is None):
            raise ValueError("[shooting] and [umbrella] belong together: shots teach the CV that windows lie along")
        if self.umbrella is not None and (self.system is None or self.data.frames is not None):
            raise ValueError("[umbrella] simulates: give [system], and no frames of your own")
        return self

    @model_validator(mode="after")
    def _labels_of_a_system(self) -> Self:
        if self.labels is not None and (self.simulation is None or self.data.frames is not None):
            raise ValueError("[labels] asks a system: give [system] and [simulation], and no frames of your own")
        return self

    @model_validator(mode="after")
    def _seeds_of_a_toy_system(self) -> Self:
        simulated = self.simulation if self.data.frames is None else None
        if self.seeds is not None and (simulated is None or simulated.engine != "overdamped" or not simulated.start):
            raise ValueError(
                '[seeds] simulates: give [system], [simulation] with engine = "overdamped" and start, and no frames of '
                "your own; of molecules, call bcg.experiments.active"
            )
        return self

    @model_validator(mode="after")
    def _long_steps_of_a_system(self) -> Self:
        if self.long_steps is not None and (self.system is None or self.data.frames is not None):
            raise ValueError("[long_steps] makes its pairs: give [system], and no frames of your own")
        return self

    @model_validator(mode="after")
    def _atoms_of_the_beads(self) -> Self:
        settings = self.coarse_graining
        if settings is None:
            return self
        if self.system is None:
            raise ValueError("[coarse_graining] computes forces on atoms: give [system]")
        if self.data.frames is None and (self.simulation is None or self.simulation.engine != "batched"):
            raise ValueError('[coarse_graining] needs forces in full precision: set simulation.engine = "batched"')
        if settings.without is not None and settings.without not in self.analysis.basins:
            defined = ", ".join(self.analysis.basins) or "none"
            raise ValueError(f"coarse_graining.without names {settings.without!r}; analysis.basins are {defined}")
        return self

    @model_validator(mode="after")
    def _samples_for_each_refit(self) -> Self:
        queried = self.data.frames is None and self.simulation is None and self.umbrella is None
        if queried and self.fit.uncertainty == "ensemble" and self.analysis.samples < 100 * self.fit.members:
            raise ValueError(
                f"analysis.samples = {self.analysis.samples} leaves each of fit.members = {self.fit.members} refits "
                "fewer than 100 weighted draws; raise it"
            )
        return self
