"""From names and arguments in an experiment to systems, frames, features and models."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from bayescg import data, features, sampling, systems
from bayescg.arguments import did_you_mean
from bayescg.contract.model_files import models_in
from bayescg.data.readers.assembly import selection
from bayescg.data.readers.files import topology_of
from bayescg.data.readers.loading import sources
from bayescg.devices import device_of
from bayescg.errors import BayescgError, ConfigError
from bayescg.experiments import catalogue
from bayescg.experiments.lags import check_lags, check_lags_of_frames
from bayescg.experiments.schema import Experiment, Named
from bayescg.features.observables import Observable, from_names
from bayescg.modelling import Model, TwoWayModel
from bayescg.modelling.registry import find_model, model_names
from bayescg.questions.known import check_names
from bayescg.questions.reading_order import QUESTIONS, find_question
from bayescg.topologies import read_topology

if TYPE_CHECKING:
    from bayescg.data import Frames

__all__ = ["check", "frames_of", "learns_from_frames", "methods", "model_class", "model_of", "peers", "system_of"]

FEATURES = (
    "aligned", "cartesian", "contacts", "distances", "internal_coordinates", "native_contacts", "radii",
    "torsions", "unbounded_coordinates", "none",
)  # fmt: skip
_OF_TOPOLOGIES = ("contacts", "distances", "torsions")


def check(experiment: Experiment) -> None:
    """Refuse names and arguments that nothing takes, before anything is computed.

    Raises
    ------
    ConfigError, DeviceError
    """
    if experiment.data.frames is None and experiment.system is not None:
        _choose("system.name", experiment.system.name, list(catalogue.systems()))
        _check_arguments("system", getattr(systems, experiment.system.name), experiment.system)
    _choose("features.name", experiment.features.name, FEATURES)
    if experiment.features.name != "none":
        _check_arguments(
            "features", getattr(features, experiment.features.name), experiment.features, ("top", "system")
        )
    model = model_class(experiment.model.name)
    if experiment.features.name != "none" and "features" not in inspect.signature(model).parameters:
        raise ConfigError(f'{experiment.model.name} takes no features: set features.name = "none"')
    _check_arguments("model", model, experiment.model, ("features", "system"))
    has_frames = learns_from_frames(experiment)
    sources_of_frames = (experiment.simulation, experiment.umbrella, experiment.long_steps)
    if has_frames and experiment.data.frames is None and sources_of_frames == (None,) * 3:
        raise ConfigError(f"{experiment.model.name} learns from frames: give [data] frames = ..., or [simulation]")
    if not has_frames and experiment.system is None:
        raise ConfigError(f"{experiment.model.name} learns from the energies of a system: give [system]")
    if experiment.long_steps is not None and experiment.long_steps.direct is not None:
        model_class(experiment.long_steps.direct)
    check_lags(experiment, model)
    _check_names(experiment)
    for name in QUESTIONS:
        find_question(name).check(experiment, model)
    if experiment.coarse_graining is not None:
        torsion_across(experiment, mapping_of(experiment, system_of(experiment)))
    for other in [*list(methods(experiment).values())[1:], *peers(experiment).values()]:
        check(other)
    device_of(experiment.run.device)


def learns_from_frames(experiment: Experiment) -> bool:
    """Whether the model learns from frames; one that can do without them does where there are none."""
    model = model_class(experiment.model.name)
    if not issubclass(model, TwoWayModel):
        return model.needs_frames
    return not (experiment.data.frames is experiment.simulation is experiment.umbrella is None)


def methods(experiment: Experiment) -> dict[str, Experiment]:
    """An experiment for the model of ``[model]``, named for its class, and for each that it is compared with, by name.

    Raises
    ------
    ConfigError
        Two of them have the same name.
    """
    study = experiment.compare
    first = re.sub(r"(?<=[a-z])(?=[A-Z])", "_", experiment.model.name.rpartition(":")[2]).lower()
    experiments = {first: experiment.model_copy(update={"compare": None})}
    if study is None:
        return experiments
    beside = {name for q in study.questions or QUESTIONS for name in find_question(q).beside()}
    if clash := study.models.keys() & {first, *beside}:
        raise ConfigError(f"compare.models.{min(clash)}: another method of the study has this name; choose another one")
    for name, model in study.models.items():
        if model_class(model.name).needs_pairs and study.lag is None:
            raise ConfigError(f"compare.lag is missing: {model.name} learns from pairs of frames; give it a value")
        lag = study.lag if model_class(model.name).needs_pairs else None
        data = experiment.data.model_copy(update={"lag": lag})
        experiments[name] = experiment.model_copy(
            update={"model": model, "fit": study.fit, "data": data, "compare": None}
        )
    return experiments


def peers(experiment: Experiment) -> dict[str, Experiment]:
    """An experiment for each model that stands beside that of ``[model]``, by name."""
    experiments = {}
    for name, other in experiment.beside.items():
        more = {k: v for k, v in (("features", other.features), ("fit", other.fit)) if v is not None}
        experiments[name] = experiment.model_copy(update={"model": other.model, "beside": {}, **more})
    return experiments


def frames_of(experiment: Experiment, directory: Path) -> Frames:
    """The user's frames, or those of a simulation whose trajectories are kept in `directory`.

    Raises
    ------
    ConfigError
        They do not have the lags or the observables that are asked for.
    """
    frames = _given(experiment, directory)
    check_lags_of_frames(experiment, frames)
    coordinates = 0 if frames.topology is not None else frames.positions[0].size
    check_names(experiment.analysis, frames.topology, coordinates, _observables(experiment))
    return frames


def _given(experiment: Experiment, directory: Path) -> Frames:
    wanted = experiment.data
    if wanted.frames is not None:
        ours = {"frames", "stride", "select", "lag", "coordinates", "equilibrium"}
        arguments = wanted.model_dump(exclude=ours, exclude_none=True)
        return data.load(wanted.frames, stride=wanted.stride, select=wanted.select, **arguments)
    assert experiment.system is not None
    assert experiment.simulation is not None
    system = getattr(systems, experiment.system.name)(**experiment.system.arguments)
    settings = experiment.simulation.model_dump()
    time, engine, seed = settings.pop("time"), settings.pop("engine"), experiment.run.seed
    if engine == "overdamped":
        frames = _overdamped(experiment, system, directory).subset(slice(None, None, wanted.stride))
        if wanted.coordinates is None:
            return frames
        mapping = features.beads(system.dim, np.eye(system.dim)[_columns(wanted.coordinates, system.dim)])
        return sampling.mapped_forces(frames, system, mapping, aggregation="slice")
    del settings["temperature_kT"], settings["start"]
    if engine == "batched":
        settings = {k: v for k, v in settings.items() if k not in ("processes", "wall_limit")}
        device = experiment.run.device
        simulated = sampling.batched_dynamics(system, time, out=directory, seed=seed, device=device, **settings)
    else:
        del settings["temperatures"]
        simulated = sampling.molecular_dynamics(system, time, out=directory, seed=seed, **settings)
    if wanted.select is None and wanted.stride == 1:
        return simulated
    files = sorted(directory.glob("trajectory-*.xtc"))
    top = directory / "topology.pdb"
    return data.load(files, top=top, temperature=system.temperature, stride=wanted.stride, select=wanted.select)


def _columns(coordinates: Sequence[str], dim: int) -> list[int]:
    """Numbers, from 0, of coordinates by their names."""
    names = [f"x{k + 1}" for k in range(dim)]
    for name in coordinates:
        _choose("data.coordinates", name, names)
    return [names.index(name) for name in coordinates]


def _overdamped(experiment: Experiment, system: systems.System, directory: Path) -> Frames:
    """Frames of a toy system, weighted where they were simulated at another temperature."""
    assert experiment.system is not None
    assert experiment.simulation is not None
    settings, simulated, model = experiment.simulation, system, model_class(experiment.model.name)
    if settings.temperature_kT is not None:
        arguments = {**experiment.system.arguments, "temperature_kT": settings.temperature_kT}
        simulated = getattr(systems, experiment.system.name)(**arguments)
    frames = sampling.overdamped(
        simulated, round(settings.time / settings.dt), dt=settings.dt, chains=settings.chains,
        stride=round(settings.frame_every / settings.dt), equilibration=round(settings.equilibration / settings.dt),
        energy=True, forces=model.conditional and not model.needs_pairs, device=experiment.run.device,
        seed=experiment.run.seed, run_dir=directory,
        starts=settings.start,
    )  # fmt: skip
    if simulated is system:
        return frames
    energy = np.asarray(frames.energy, dtype=np.float64)
    log_weight = -(1 / system.kT - 1 / simulated.kT) * (energy - energy.min())
    return replace(frames, weights=np.exp(log_weight - log_weight.max()), temperature_kT=system.kT)


def system_of(experiment: Experiment) -> Any:
    """The system that is simulated or queried."""
    assert experiment.system is not None
    return getattr(systems, experiment.system.name)(**experiment.system.arguments)


def mapping_of(experiment: Experiment, molecule: Any) -> features.Beads:
    """The beads of ``[coarse_graining]``."""
    assert experiment.coarse_graining is not None
    return features.beads(molecule, experiment.coarse_graining.beads, experiment.coarse_graining.centre)


def torsion_across(experiment: Experiment, mapping: features.Beads) -> Observable | None:
    """The torsion of the beads that ``coarse_graining.across`` names.

    Raises
    ------
    ConfigError
        It names several, or what is no angle.
    TopologyError
        The beads have none of this name.
    """
    assert experiment.coarse_graining is not None
    if experiment.coarse_graining.across is None:
        return None
    (name,) = experiment.coarse_graining.across
    torsions = from_names([name], mapping.topology)
    if len(torsions) > 1 or torsions[0].unit != "rad":
        choices = ", ".join(t.name for t in torsions) if len(torsions) > 1 else "phi, psi or omega"
        raise ConfigError(f"coarse_graining.across names {name!r}: it is one torsion of the beads, such as {choices}")
    return torsions[0]


def model_of(experiment: Experiment, frames: Frames | None, directory: Path) -> Model:
    """The model, reading the features of these frames, if it needs any.

    Frames are aligned to the conformation in the topology file, the same for every seed, so that runs compare.
    """
    features_read = None
    if experiment.features.name != "none":
        arguments = dict(experiment.features.arguments)
        if experiment.features.name in ("aligned", "native_contacts"):
            arguments.setdefault("reference", _conformation(experiment, directory))
        if experiment.features.name == "internal_coordinates":  # fewer torsions cross the end of their range
            arguments.setdefault("around", _conformation(experiment, directory))
        features_read = getattr(features, experiment.features.name)(frames, **arguments)
    build: Callable[..., Model] = model_class(experiment.model.name)
    parameters = inspect.signature(build).parameters
    supplied: dict[str, Any] = {"features": features_read} if "features" in parameters else {}
    both = issubclass(model_class(experiment.model.name), TwoWayModel) and learns_from_frames(experiment)
    if "system" in parameters and experiment.system is not None and not both:
        supplied["system"] = getattr(systems, experiment.system.name)(**experiment.system.arguments)
    try:
        return build(**supplied, **experiment.model.arguments)
    except (TypeError, ValueError, RuntimeError) as error:
        if isinstance(error, BayescgError):
            raise
        where = f"[model] {experiment.model.name} cannot be made with {experiment.model.arguments}"
        raise ConfigError(f"{where}: {error}") from error


def _conformation(experiment: Experiment, directory: Path) -> np.ndarray | None:
    """Positions ``(atoms, 3)`` in nm in the topology file; None (the first frame) where it has none, or broken ones."""
    wanted = experiment.data
    top = directory / "topology.pdb" if wanted.frames is None else wanted.top
    if top is None or wanted.unit is not None or wanted.whole:
        return None
    topology, positions = read_topology(top)
    return positions if positions is None or wanted.select is None else positions[topology.select(wanted.select)]


def model_class(name: str) -> type[Model]:
    """A registered model, or ``FILE.py:Class``, which executes the file.

    Raises
    ------
    ConfigError
        There is none of this name.
    """
    file, colon, attribute = name.rpartition(":")
    if colon and file.endswith(".py"):
        classes = {c.__name__: c for c in models_in(file)}
        _choose("model.name", attribute, classes)
        return classes[attribute]
    registered = model_names()
    if registered:
        _choose("model.name", name, registered)
    return find_model(name)


def _check_names(experiment: Experiment) -> None:
    """Refuse observables and features that nothing has: those of a topology, or of the coordinates of a toy system."""
    wanted, topology, coordinates = experiment.data, None, None
    if wanted.frames is not None:
        topology, _ = selection(topology_of(wanted.top, sources(wanted.frames)[0]), wanted.select)
        coordinates = None if topology is None else 0
    elif experiment.system is not None:
        system = getattr(systems, experiment.system.name)(**experiment.system.arguments)
        coordinates = system.dim if system.topology is None or experiment.simulation is None else 0
        if wanted.coordinates is not None:
            coordinates = len(_columns(wanted.coordinates, coordinates))
        if system.topology is not None:
            topology, _ = selection(read_topology(system.topology)[0], wanted.select)
    check_names(experiment.analysis, topology, coordinates, _observables(experiment))
    reads = "features" in inspect.signature(model_class(experiment.model.name)).parameters
    if reads and topology is None and wanted.frames is None and experiment.features.name not in ("none", "radii"):
        raise ConfigError(
            f'features.name = "{experiment.features.name}" is of molecules, and the system has no atoms: for its '
            'coordinates set features.name = "none"'
        )
    if topology is not None and experiment.features.name in _OF_TOPOLOGIES:
        getattr(features, experiment.features.name)(topology, **experiment.features.arguments)


def _observables(experiment: Experiment) -> Collection[str]:
    """Names of what the system has to be read of it."""
    if experiment.system is None or experiment.data.frames is not None:
        return ()
    maker = getattr(systems, experiment.system.name)
    return maker(**experiment.system.arguments).observables if isinstance(maker, type) else ()


def _choose(key: str, value: str, known: Any) -> None:
    if value not in known:
        raise ConfigError(f'{key} = "{value}": {did_you_mean(value, known)}use one of {", ".join(known)}')


def _check_arguments(
    section: str, target: Callable[..., Any], section_read: Named, supplied: tuple[str, ...] = ()
) -> None:
    parameters: Mapping[str, inspect.Parameter] = inspect.signature(target).parameters
    named = {k: p for k, p in parameters.items() if k not in supplied and p.kind != p.VAR_KEYWORD}
    for key, value in section_read.arguments.items():
        entry = f"{section}.{key} = {value!r}"
        if key not in named:
            hint = did_you_mean(key, named)
            raise ConfigError(
                f"{entry}: unknown argument; {hint}{section_read.name} takes {', '.join(named) or 'none'}"
            )
        default = named[key].default
        allowed = _LIKE.get(type(default))
        if allowed and not (isinstance(value, allowed) and isinstance(value, bool) == isinstance(default, bool)):
            raise ConfigError(f"{entry}: should be like its default, {default!r}")
    missing = [k for k, p in named.items() if p.default is p.empty and k not in section_read.arguments]
    if missing:
        raise ConfigError(f"[{section}] {section_read.name} needs {', '.join(missing)}; give it a value")


_LIKE: Mapping[type, tuple[type, ...]] = {
    bool: (bool,),
    int: (int,),
    float: (int, float),
    str: (str, type(None)),
    tuple: (list,),
    list: (list,),
}
