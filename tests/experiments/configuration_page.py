"""``docs/configuration.md``, made of the schema: ``python -m tests.experiments.configuration_page`` writes it."""

import inspect
import re
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from bayescg import features, systems
from bayescg.experiments import build, catalogue
from bayescg.experiments.schema import Analysis, Experiment
from bayescg.experiments.settings import toml_value
from bayescg.modelling.registry import find_model
from bayescg.questions.reading_order import QUESTIONS, find_question
from bayescg.questions.sections import Shared

PAGE = Path(__file__).parents[2] / "docs" / "configuration.md"

HEAD = """# Experiment files

What a TOML file that `bayescg run FILE.toml` takes may say: sections, their keys, what each may be, and the default. A
key that is not here is refused, with the nearest one. Paths are relative to the file. `--set section.key=VALUE` sets a
key on the command line; `bayescg report DIR --set analysis.key=VALUE` asks something else of a run without another fit.
Tables `[quick.SECTION]` hold what `bayescg run --quick` takes instead. `bayescg list` names experiments, models and
systems; `config.toml` in a run's directory has every key written out, and is itself an experiment file.
"""


def page() -> str:
    """The page."""
    schema = Experiment.model_json_schema()
    parts = [HEAD]
    for name, field in Experiment.model_fields.items():
        definition = _resolved(schema["properties"][name], schema)
        section = next(s for s in (field.annotation, *getattr(field.annotation, "__args__", ())) if inspect.isclass(s))
        named = ""
        if "properties" not in definition and "patternProperties" in definition:  # tables, by names of one's own
            definition, named = _resolved(next(iter(definition["patternProperties"].values())), schema), ".NAME"
        parts.append(f"## [{name}{named}]{', needed' if field.is_required() else ''}\n")
        if definition.get("title") == "Named":
            parts.append(_NAMED[name]())
        elif section is Analysis:
            parts.append(_markdown(Shared.__doc__) + "\n\n" + _table(definition, schema, Shared.model_fields))
            parts += [text for question in QUESTIONS if (text := _question(question, definition, schema))]
        else:
            parts.append(_markdown(section.__doc__) + "\n\n" + _table(definition, schema))
    return "\n".join(parts)


def _question(name: str, definition: Mapping[str, Any], schema: Mapping[str, Any]) -> str:
    settings = find_question(name).Settings
    if not settings.model_fields:
        return ""
    return f"Of the question `{name}`: {_markdown(settings.__doc__)}\n\n" + _table(
        definition, schema, settings.model_fields
    )


def _table(definition: Mapping[str, Any], schema: Mapping[str, Any], keys: Iterable[str] | None = None) -> str:
    rows = ["| key | may be | default |", "| --- | --- | --- |"]
    for key in definition["properties"] if keys is None else keys:
        entry = definition["properties"][key]
        needed = key in definition.get("required", ())
        default = "needed" if needed else _default(entry.get("default"))
        rows.append(f"| `{key}` | {_kind(entry, schema)} | {default} |")
    return "\n".join(rows) + "\n"


def _default(value: Any) -> str:
    if isinstance(value, dict) and value:
        return "all defaults"
    return "none" if value is None else f"`{toml_value(value)}`"


def _kind(entry: Mapping[str, Any], schema: Mapping[str, Any]) -> str:
    """A type of JSON schema in words."""
    entry = _resolved(entry, schema)
    if options := [o for o in entry.get("anyOf", ()) if o.get("type") != "null"]:
        return ", or ".join(_kind(option, schema) for option in options)
    if "enum" in entry or "const" in entry:
        return ", ".join(f"`{toml_value(value)}`" for value in entry.get("enum", [entry.get("const")]))
    if entry.get("type") == "array":
        count = f" of {entry['minItems']}" if entry.get("minItems") == entry.get("maxItems", -1) else ""
        return f"list{count}: {_kind(entry.get('items', {}), schema)}"
    if entry.get("title") in _TABLES:
        return _TABLES[entry["title"]]
    if entry.get("type") == "object":
        inner = entry.get("additionalProperties")
        if inner is True:
            return "table: any"
        inner = inner or next(iter(entry["patternProperties"].values()))
        return f"table: {_kind(inner, schema)}"
    words = {"integer": "whole number", "number": "number", "boolean": "`true` or `false`", "string": "text"}
    bounds = {"minimum": "at least", "exclusiveMinimum": "above", "maximum": "at most", "exclusiveMaximum": "below"}
    limits = [f"{text} {entry[key]:g}" for key, text in bounds.items() if key in entry]
    return ", ".join([words[entry["type"]], *limits])


def _resolved(entry: Mapping[str, Any], schema: Mapping[str, Any]) -> Mapping[str, Any]:
    for option in (entry, *entry.get("allOf", ()), *entry.get("anyOf", ())):
        if "$ref" in option and "default" not in option:
            return schema["$defs"][option["$ref"].rpartition("/")[2]]
        if "$ref" in option:
            return {**schema["$defs"][option["$ref"].rpartition("/")[2]], "default": option["default"]}
    return entry


def _markdown(text: str | None) -> str:
    """A docstring without what only Sphinx reads."""
    text = re.sub(r":\w+:`~?([^`]*)`", r"`\1`", inspect.cleandoc(text or ""))
    return re.sub(r"``([^`]*)``", r"`\1`", text)


def _signatures(makers: Mapping[str, Callable[..., Any]], supplied: tuple[str, ...] = ()) -> str:
    rows = ["| name | arguments |", "| --- | --- |"]
    for name, maker in makers.items():
        named = [
            f"`{key}`"
            if p.default is p.empty
            else f"`{key} = {toml_value('none' if p.default is None else p.default)}`"
            for key, p in inspect.signature(maker).parameters.items()
            if key not in supplied and p.kind != p.VAR_KEYWORD
        ]
        rows.append(f"| `{name}` | {', '.join(named)} |")
    return "\n".join(rows) + "\n"


def _argument(parameter: inspect.Parameter) -> str:
    if parameter.default is parameter.empty:
        return parameter.name
    return f"{parameter.name} = {toml_value('none' if parameter.default is None else parameter.default)}"


def _systems() -> str:
    text = 'A system of `bayescg.systems` by `name`, and its arguments; `"none"` stands for Python\'s None.'
    makers = {name: getattr(systems, name) for name in catalogue.systems()}
    return f"{text}\n\n{_signatures(makers)}"


def _features() -> str:
    text = 'What the model reads of positions, by `name`: `"none"`, or a function of `bayescg.features`.'
    makers = {name: getattr(features, name) for name in build.FEATURES if name != "none"}
    return f"{text}\n\n{_signatures(makers, ('top', 'system'))}"


def _models() -> str:
    text = "A model by `name`, `FILE.py:Class` for one of your own, and its arguments."
    makers = {name: find_model(name) for name in catalogue.models()}
    return f"{text}\n\n{_signatures(makers, ('features', 'system'))}"


_TABLES = {"Named": "as `[model]`", "Training": "as `[fit]`"}
_NAMED = {"system": _systems, "features": _features, "model": _models}


if __name__ == "__main__":
    PAGE.parent.mkdir(exist_ok=True)
    PAGE.write_text(page(), encoding="utf-8")
