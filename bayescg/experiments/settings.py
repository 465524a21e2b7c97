"""From an experiment file and the command line to one resolved experiment, and back to TOML."""

import json
import tomllib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, get_args, get_origin

from pydantic import BaseModel, ValidationError

from bayescg.arguments import did_you_mean
from bayescg.errors import ConfigError
from bayescg.experiments.catalogue import find_experiment
from bayescg.experiments.schema import Experiment

__all__ = ["asking", "load", "parse", "to_toml", "toml_value", "typed"]


def load(
    name: str | Path,
    *,
    seed: int | None = None,
    device: str | None = None,
    quick: bool = False,
    changes: Iterable[str] = (),
) -> Experiment:
    """An experiment with everything that the caller wants otherwise.

    Parameters
    ----------
    name : str or path
        A shipped experiment or a TOML file; paths inside a file, those of models too, are relative to it.
    seed, device : optional
        In place of the file's.
    quick : bool
        Take the small sizes of the file's ``[quick]`` tables, and do not compile.
    changes : iterable of str
        ``section.key=value`` with a TOML value; a bare word is a string.

    Raises
    ------
    ConfigError
        No such experiment, a file that does not parse, or a key or value that is wrong: all of them are named.

    Examples
    --------
    >>> load("alanine-dipeptide", seed=3, changes=["fit.steps=100"]).fit.steps
    100
    """
    path = find_experiment(name)
    raw = read_toml(path)
    _resolve_paths(raw, path.parent)
    if not isinstance(small := raw.pop("quick", {}), dict):
        raise ConfigError(
            f"{path} cannot be run:\n  quick = {small!r}: a section of settings for --quick, [quick.fit] say"
        )
    if quick:
        _merge(raw, {"run": {"compile": "off", "quick": True}})
        _merge(raw, small)
    _merge(raw, {"run": {k: v for k, v in (("seed", seed), ("device", device)) if v is not None}})
    typed = [_change(raw, text) for text in changes]
    if any(key[0] in ("data", "model", "compare") for key in typed):
        _resolve_paths(raw, Path.cwd())
    return parse(raw, str(path))


def asking(experiment: Experiment, changes: Iterable[str]) -> Experiment:
    """An experiment that asks something else of its fit.

    Parameters
    ----------
    experiment : Experiment
    changes : iterable of str
        As for `load`, of keys of ``[analysis]``.

    Raises
    ------
    ConfigError
        A key or value that is wrong, or one of another section.

    Examples
    --------
    >>> asking(load("double-well"), ["analysis.draws=50"]).analysis.draws
    50
    """
    raw = experiment.model_dump(exclude_none=True)
    for text in changes:
        section, *_ = _change(raw, text)
        if section != "analysis":
            raise ConfigError(
                f"--set {text}: the fit stays, so that only keys of [analysis] can change; for any other use bayescg "
                "run with another --out"
            )
    return parse(raw, "with these changes the run")


def read_toml(path: Path) -> dict[str, Any]:
    """The tables of a TOML file."""
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"cannot read the experiment file {path}: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(
            f"{path} is not valid TOML: {error}. Strings need quotes, tables a [name] in brackets."
        ) from error


def parse(raw: Mapping[str, Any], origin: str) -> Experiment:
    """Validate the tables of `origin`; the error names every wrong key, its value and what is allowed."""
    try:
        return Experiment.model_validate(raw)
    except ValidationError as error:
        problems = [_explain(e, raw) for e in error.errors()]
        raise ConfigError("\n  ".join([f"{origin} cannot be run:", *problems])) from None


def to_toml(experiment: Experiment) -> str:
    """The experiment as TOML, every default written out.

    Examples
    --------
    >>> experiment = load("alanine-dipeptide")
    >>> parse(tomllib.loads(to_toml(experiment)), "text") == experiment
    True
    """
    lines: list[str] = []
    for section, values in experiment.model_dump(exclude_none=True).items():
        lines += [f"[{section}]", *(f"{_key(k)} = {toml_value(v)}" for k, v in values.items()), ""]
    return "\n".join(lines)


def toml_value(value: Any) -> str:
    """A value as TOML writes it.

    Examples
    --------
    >>> toml_value([0.1, True, "a"])
    '[0.1, true, "a"]'
    """
    if isinstance(value, Mapping):
        return "{ " + ", ".join(f"{_key(k)} = {toml_value(v)}" for k, v in value.items()) + " }" if value else "{}"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(map(toml_value, value)) + "]"
    if isinstance(value, str):
        return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
    return str(value).lower() if isinstance(value, bool) else str(value)


def typed(text: str) -> Any:
    """The value that a text is in TOML; a bare word is a string.

    Examples
    --------
    >>> typed("[1, 2]"), typed("laplace")
    ([1, 2], 'laplace')
    """
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text.strip()


def _change(raw: dict[str, Any], text: str) -> list[str]:
    key, equals, value = text.partition("=")
    path = key.strip().split(".")
    if not equals or not all(path):
        raise ConfigError(f"--set {text}: write section.key=value, for instance --set fit.steps=5000")
    if len(path) == 1:
        fields = Experiment.model_fields
        homes = [s for s, f in fields.items() if (m := _model(f.annotation)) and path[0] in m.model_fields]
        hint = f"write --set {homes[0]}.{text}" if homes else f"sections are {', '.join(fields)}"
        raise ConfigError(f"--set {text}: the key has no section; {hint}")
    table: Any = raw
    for part in path[:-1]:
        table = table.setdefault(part, {})
        if not isinstance(table, dict):
            raise ConfigError(f"--set {text}: {part} is a value, not a section")
    table[path[-1]] = typed(value)
    return path


def _merge(raw: dict[str, Any], other: Mapping[str, Any]) -> None:
    for key, value in other.items():
        if not isinstance(value, Mapping):
            raw[key] = value
        elif isinstance(raw.setdefault(key, {}), dict):  # what is no section there is refused with the rest
            _merge(raw[key], value)


def _resolve_paths(raw: dict[str, Any], base: Path) -> None:
    models = [raw.get("model"), *_table(_table(raw.get("compare")).get("models")).values()]
    for model in filter(None, map(_table, models)):
        file, colon, name = str(model.get("name")).rpartition(":")
        if colon and file.endswith(".py"):  # a class in a file of the user's
            model["name"] = f"{(base / file).resolve()}:{name}"
    data = _table(raw.get("data"))
    for key in ("frames", "top"):
        value = data.get(key)
        if isinstance(value, str):
            data[key] = str((base / value).resolve())
        elif isinstance(value, list):
            data[key] = [str((base / v).resolve()) if isinstance(v, str) else v for v in value]


def _table(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _explain(error: Any, raw: Mapping[str, Any]) -> str:
    """One line: the key, its value, what is wrong with it, what is allowed."""
    path = [str(part) for part in error["loc"]]
    key, value = ".".join(path), error["input"]
    entry = f"{key} = {toml_value(value)}" if path and not isinstance(value, Mapping) else key
    if error["type"] == "extra_forbidden":
        allowed_keys = list(_fields(path[:-1]))
        where = f"[{'.'.join(path[:-1])}] has" if path[:-1] else "sections are"
        return f"{entry}: unknown key; {did_you_mean(path[-1], allowed_keys)}{where} {', '.join(allowed_keys)}"
    if error["type"] == "missing":
        return f"{key} is missing; give it a value"
    if error["type"] == "literal_error":
        allowed = get_args(_literal(path)) or ()
        return f"{entry}: {did_you_mean(value, allowed)}use {error['ctx']['expected']}"
    message = error["msg"].removeprefix("Value error, ").removeprefix("Input ")
    return f"{entry}: {message}" if path else message


def _model(annotation: Any) -> type[BaseModel] | None:
    options = [annotation, *get_args(annotation)]
    return next((a for a in options if isinstance(a, type) and issubclass(a, BaseModel)), None)


def _fields(path: list[str]) -> Mapping[str, Any]:
    model: type[BaseModel] = Experiment
    parts = iter(path)
    for part in parts:
        field = model.model_fields.get(part)
        inner = _model(field.annotation) if field else None
        if field is None or inner is None:
            return {}
        model = inner
        if get_origin(field.annotation) is dict:  # the next part is a name of the user's
            next(parts, None)
    return model.model_fields


def _literal(path: list[str]) -> Any:
    field = _fields(path[:-1]).get(path[-1])
    annotation = field.annotation if field else None
    return next((a for a in get_args(annotation) if get_args(a)), annotation)


def _key(key: str) -> str:
    return key if key.replace("-", "").replace("_", "").isalnum() and key.isascii() else toml_value(key)
