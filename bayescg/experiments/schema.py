"""What an experiment file may say: one class per section, unknown keys refused."""

from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator

__all__ = ["Analysis", "Compare", "Data", "Experiment", "Named", "Simulation", "Training"]

Range = Annotated[list[float], Field(min_length=2, max_length=2)]
Names = Annotated[list[str], BeforeValidator(lambda value: [value] if isinstance(value, str) else value)]


class Section(BaseModel):
    """A table of the file; types are taken literally and nothing unknown passes."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class About(Section):
    """``[experiment]``: what it is called and where it was published."""

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")
    description: str = ""
    cite: Names = []


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
    (:func:`bayescg.sampling.overdamped`), at their own kT or at `temperature_kT`, whose frames are then weighted.
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

    @model_validator(mode="after")
    def _suits_the_engine(self) -> Self:
        if self.temperatures is not None and self.engine == "openmm":
            raise ValueError('simulation.temperatures does nothing with simulation.engine = "openmm"; use "batched"')
        if self.temperature_kT is not None and self.engine != "overdamped":
            raise ValueError('simulation.temperature_kT is for simulation.engine = "overdamped" only')
        return self


class Data(Section):
    """``[data]``: your own frames, in place of a simulation, and which frames and atoms to keep of either.

    The keys are arguments of :func:`bayescg.data.load`, but for `lag`: the time between the frames of a pair (ps, or
    the unit of a toy system), for models that learn from pairs.
    """

    frames: Names | None = Field(default=None, min_length=1)
    top: str | None = None
    unit: str | None = None
    stride: int = Field(default=1, ge=1)
    select: str | None = None
    temperature: float | None = Field(default=None, gt=0)
    dt: float | None = Field(default=None, gt=0)
    lag: float | None = Field(default=None, gt=0)


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


class Analysis(Section):
    """``[analysis]``: the questions asked of frames and fit.

    `samples` are configurations that the model generates; of a model without frames, they are what its free energies
    are made of. `truth` gives known values of quantities, which the summary repeats beside what was found; `reference`
    takes them from a shipped reference (:mod:`bayescg.questions.references`). `audit` compares with annealing, or,
    ``"exact"``, with independent draws of a system of :mod:`bayescg.systems` (:func:`bayescg.sampling.equilibrium`).

    A region is an interval of one observable, angles in degrees (an upper end below the lower one wraps around). A
    difference is a pair of regions of the same observable.

    Slow modes: so many `modes` (None: as many as the model has, at most 3 if it does not say), over the first two
    `torsions`, with implied timescales at `lags` (none: at multiples of the fit's own).
    """

    observables: Names = ["rg", "rmsd", "end_to_end"]
    torsions: Names = []
    regions: dict[str, Annotated[dict[str, Range], Field(min_length=1, max_length=1)]] = {}
    differences: list[Annotated[list[str], Field(min_length=2, max_length=2)]] = []
    bins: int = Field(default=30, ge=2)
    draws: int = Field(default=200, ge=10)
    samples: int = Field(default=2000, ge=100)
    level: float = Field(default=0.9, gt=0, lt=1)
    audit: bool | Literal["exact"] = True
    truth: dict[str, float] = {}
    modes: int | None = Field(default=None, ge=1)
    lags: list[Annotated[float, Field(gt=0)]] = []
    reference: Annotated[str | None, BeforeValidator(lambda value: None if value == "none" else value)] = None


class Compare(Section):
    """``[compare]``: other models beside that of ``[model]``, all of them fitted to the same data, several times over.

    `models` are tables like ``[model]``, by the names that results are given; `fit` is their ``[fit]``, but for
    `held_out`. Models that learn from pairs are given frames `lag` apart, which is also the lag of the timescales and
    scores of all. Each of the `replicates` is simulated and fitted anew. `order` names those of the models that are
    expected to fall behind all others, the worst one first.
    """

    models: Annotated[dict[str, Named], Field(min_length=1)]
    lag: float = Field(gt=0)
    replicates: int = Field(default=5, ge=2)
    fit: Training = Training()
    order: list[str] = []

    @model_validator(mode="after")
    def _order_exists(self) -> Self:
        for name in self.order:
            if name not in self.models:
                raise ValueError(f"compare.order names {name!r}; compared are {', '.join(self.models)}")
        return self


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
    analysis: Analysis = Analysis()
    compare: Compare | None = None

    @model_validator(mode="after")
    def _has_frames(self) -> Self:
        if self.data.frames is None and self.system is None:
            raise ValueError("there is nothing to fit: give [data] frames = ..., or both [system] and [simulation]")
        return self

    @model_validator(mode="after")
    def _samples_for_each_refit(self) -> Self:
        queried = self.data.frames is None and self.simulation is None
        if queried and self.fit.uncertainty == "ensemble" and self.analysis.samples < 100 * self.fit.members:
            raise ValueError(
                f"analysis.samples = {self.analysis.samples} leaves each of fit.members = {self.fit.members} refits "
                "fewer than 100 weighted draws; raise it"
            )
        return self

    @model_validator(mode="after")
    def _regions_exist(self) -> Self:
        regions = self.analysis.regions
        for pair in self.analysis.differences:
            for name in pair:
                if name not in regions:
                    known = ", ".join(regions) or "none"
                    raise ValueError(f"analysis.differences names the region {name!r}; defined are {known}")
            if regions[pair[0]].keys() != regions[pair[1]].keys():
                raise ValueError(
                    f"analysis.differences: {pair[0]!r} and {pair[1]!r} are regions of different observables"
                )
        return self
