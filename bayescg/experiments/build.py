"""From names and arguments in an experiment to systems, frames, features and models."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from bayescg import data, features, sampling, systems
from bayescg.contract.model_files import models_in
from bayescg.errors import BayescgError, ConfigError, DeviceError
from bayescg.experiments import catalogue
from bayescg.experiments.schema import Experiment, Named
from bayescg.features import observables
from bayescg.modelling import Model
from bayescg.modelling.registry import find_model
from bayescg.questions.known import is_coordinate
from bayescg.questions.lag_times import check_lags, check_lags_of_frames
from bayescg.questions.reference import check_reference

if TYPE_CHECKING:
    from bayescg.data import Frames

__all__ = ["check", "compared", "frames_of", "model_class", "model_of"]

FEATURES = ("aligned", "cartesian", "distances", "internal_coordinates", "torsions", "none")


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
        _check_arguments("features", getattr(features, experiment.features.name), experiment.features, ("top",))
    model = model_class(experiment.model.name)
    if experiment.features.name != "none" and "features" not in inspect.signature(model).parameters:
        raise ConfigError(f'{experiment.model.name} takes no features: set features.name = "none"')
    _check_arguments("model", model, experiment.model, ("features", "system"))
    if model.needs_frames and experiment.data.frames is None and experiment.simulation is None:
        raise ConfigError(f"{experiment.model.name} learns from frames: give [data] frames = ..., or [simulation]")
    if not model.needs_frames and experiment.system is None:
        raise ConfigError(f"{experiment.model.name} learns from the energies of a system: give [system]")
    check_lags(experiment, model)
    _check_observables(experiment, model)
    if model.needs_frames and experiment.analysis.reference is not None:
        raise ConfigError(
            f"analysis.reference judges runs without frames; {experiment.model.name} learns from frames: leave it out"
        )
    check_reference(experiment)
    for one in compared(experiment).values():
        check(one)
    if experiment.run.device == "cuda" and not torch.cuda.is_available():
        raise DeviceError("device 'cuda' was asked for, but torch sees no CUDA device here; use --device auto or cpu")


def compared(experiment: Experiment) -> dict[str, Experiment]:
    """An experiment for each of the models that the one of ``[model]`` is compared with, by name."""
    asked = experiment.compare
    if asked is None:
        return {}
    found = {}
    for name, model in asked.models.items():
        lag = asked.lag if model_class(model.name).needs_pairs else None
        data = experiment.data.model_copy(update={"lag": lag})
        found[name] = experiment.model_copy(update={"model": model, "fit": asked.fit, "data": data, "compare": None})
    return found


def frames_of(experiment: Experiment, directory: Path) -> Frames:
    """The user's frames, or those of a simulation whose trajectories are kept in `directory`.

    Raises
    ------
    ConfigError
        They do not have the lags that are asked for.
    """
    frames = _given(experiment, directory)
    check_lags_of_frames(experiment, frames)
    return frames


def _given(experiment: Experiment, directory: Path) -> Frames:
    own = experiment.data
    if own.frames is not None:
        given = own.model_dump(exclude={"frames", "stride", "select", "lag"}, exclude_none=True)
        return data.load(own.frames, stride=own.stride, select=own.select, **given)
    assert experiment.system is not None
    assert experiment.simulation is not None
    system = getattr(systems, experiment.system.name)(**experiment.system.arguments)
    settings = experiment.simulation.model_dump()
    time, engine, seed = settings.pop("time"), settings.pop("engine"), experiment.run.seed
    if engine == "overdamped":
        return _overdamped(experiment, system, directory).subset(slice(None, None, own.stride))
    del settings["temperature_kT"]
    if engine == "batched":
        settings = {k: v for k, v in settings.items() if k not in ("processes", "wall_limit")}
        device = experiment.run.device
        simulated = sampling.batched_dynamics(system, time, out=directory, seed=seed, device=device, **settings)
    else:
        del settings["temperatures"]
        simulated = sampling.molecular_dynamics(system, time, out=directory, seed=seed, **settings)
    if own.select is None and own.stride == 1:
        return simulated
    files = sorted(directory.glob("trajectory-*.xtc"))
    top = directory / "topology.pdb"
    return data.load(files, top=top, temperature=system.temperature, stride=own.stride, select=own.select)


def _overdamped(experiment: Experiment, system: systems.System, directory: Path) -> Frames:
    """Frames of a toy system, weighted where they were simulated at another temperature."""
    assert experiment.system is not None
    assert experiment.simulation is not None
    asked, simulated = experiment.simulation, system
    if asked.temperature_kT is not None:
        given = {**experiment.system.arguments, "temperature_kT": asked.temperature_kT}
        simulated = getattr(systems, experiment.system.name)(**given)
    frames = sampling.overdamped(
        simulated, round(asked.time / asked.dt), dt=asked.dt, chains=asked.chains,
        stride=round(asked.frame_every / asked.dt), equilibration=round(asked.equilibration / asked.dt),
        energy=True, device=experiment.run.device, seed=experiment.run.seed, run_dir=directory,
    )  # fmt: skip
    if simulated is system:
        return frames
    energy = np.asarray(frames.energy, dtype=np.float64)
    log_weight = -(1 / system.kT - 1 / simulated.kT) * (energy - energy.min())
    return replace(frames, weights=np.exp(log_weight - log_weight.max()), temperature_kT=system.kT)


def model_of(experiment: Experiment, frames: Frames | None, directory: Path) -> Model:
    """The model, reading the features of these frames, if it needs any.

    Frames are aligned to the conformation in the topology file, the same for every seed, so that runs compare.
    """
    chosen = None
    if experiment.features.name != "none":
        arguments = dict(experiment.features.arguments)
        if experiment.features.name == "aligned":
            arguments.setdefault("reference", _conformation(experiment, directory))
        if experiment.features.name == "internal_coordinates":  # fewer torsions cross the end of their range
            arguments.setdefault("around", _conformation(experiment, directory))
        chosen = getattr(features, experiment.features.name)(frames, **arguments)
    build: Callable[..., Model] = model_class(experiment.model.name)
    taken = inspect.signature(build).parameters
    given: dict[str, Any] = {"features": chosen} if "features" in taken else {}
    if "system" in taken and experiment.system is not None:
        given["system"] = getattr(systems, experiment.system.name)(**experiment.system.arguments)
    try:
        return build(**given, **experiment.model.arguments)
    except (TypeError, ValueError, RuntimeError) as error:
        if isinstance(error, BayescgError):
            raise
        told = f"[model] {experiment.model.name} cannot be made with {experiment.model.arguments}"
        raise ConfigError(f"{told}: {error}") from error


def _conformation(experiment: Experiment, directory: Path) -> np.ndarray | None:
    """Positions ``(atoms, 3)`` in nm of a PDB topology; None (the first frame) where the file holds no conformation."""
    import mdtraj

    own = experiment.data
    path = directory / "topology.pdb" if own.frames is None else Path(own.top or "")
    if path.suffix.lower() != ".pdb" or own.unit is not None:
        return None
    found = mdtraj.load(str(path))
    return found.xyz[0] if own.select is None else found.xyz[0][found.topology.select(own.select)]


def model_class(name: str) -> type[Model]:
    """A registered model, or ``FILE.py:Class``, which executes the file.

    Raises
    ------
    ConfigError
        There is none of this name.
    """
    file, colon, attribute = name.rpartition(":")
    if colon and file.endswith(".py"):
        found = {c.__name__: c for c in models_in(file)}
        _choose("model.name", attribute, found)
        return found[attribute]
    known = list(catalogue.models())
    if known:
        _choose("model.name", name, known)
    return find_model(name)


def _check_observables(experiment: Experiment, model: type[Model]) -> None:
    """Refuse observables that nothing has; without frames, coordinates of the system (x1, x2, ...) are some as well."""
    asked = experiment.analysis
    in_regions = {f"analysis.regions.{name}": list(region) for name, region in asked.regions.items()}
    keys = {"analysis.observables": asked.observables, "analysis.torsions": asked.torsions, **in_regions}
    for key, names in keys.items():
        for name in names:
            if model.needs_frames or experiment.system is None:
                _choose(key, name, observables.NAMES)
            elif is_coordinate(name) or inspect.isclass(getattr(systems, experiment.system.name)):
                _check_of_system(key, name, getattr(systems, experiment.system.name)(**experiment.system.arguments))
            else:  # a molecule, which takes a while to make
                _choose(key, name, observables.NAMES)


def _check_of_system(key: str, name: str, system: systems.System) -> None:
    named = () if system.topology is None else observables.NAMES
    if name not in named and not (is_coordinate(name) and int(name[1:]) <= system.dim):
        told = f"{key} = {name!r}: the system has {system.dim} coordinate{'s'[: system.dim > 1]}"
        raise ConfigError(f"{told}; use one of {', '.join([*named, f'x1 to x{system.dim}'])}")


def _choose(key: str, value: str, known: Any) -> None:
    if value not in known:
        raise ConfigError(f'{key} = "{value}": {catalogue.did_you_mean(value, known)}use one of {", ".join(known)}')


def _check_arguments(section: str, target: Callable[..., Any], given: Named, supplied: tuple[str, ...] = ()) -> None:
    parameters: Mapping[str, inspect.Parameter] = inspect.signature(target).parameters
    named = {k: p for k, p in parameters.items() if k not in supplied and p.kind != p.VAR_KEYWORD}
    for key, value in given.arguments.items():
        told = f"{section}.{key} = {value!r}"
        if key not in named:
            hint = catalogue.did_you_mean(key, named)
            raise ConfigError(f"{told}: unknown argument; {hint}{given.name} takes {', '.join(named) or 'none'}")
        default = named[key].default
        allowed = _LIKE.get(type(default))
        if allowed and not (isinstance(value, allowed) and isinstance(value, bool) == isinstance(default, bool)):
            raise ConfigError(f"{told}: should be like its default, {default!r}")
    missing = [k for k, p in named.items() if p.default is p.empty and k not in given.arguments]
    if missing:
        raise ConfigError(f"[{section}] {given.name} needs {', '.join(missing)}; give it a value")


_LIKE: Mapping[type, tuple[type, ...]] = {
    bool: (bool,),
    int: (int,),
    float: (int, float),
    str: (str, type(None)),
    tuple: (list,),
    list: (list,),
}
