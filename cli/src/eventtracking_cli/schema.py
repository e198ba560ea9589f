"""The command `schema`: a JSON Schema of the whole config with the installed plugins' options, for
editors.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

import click

from eventtracking.config.discovery import BrokenPluginError, Plugin, Plugins, installed_plugins
from eventtracking.config.options import MISSING, Option, options_of
from eventtracking_cli.options import summary_of
from eventtracking_cli.output import print_json, warn
from eventtracking_cli.plugins import adds_commands_only

__all__ = ["config_schema", "schema_command"]

_Schema = dict[str, Any]

_REFERENCE: Final = {"$ref": "#/$defs/reference"}
_ROUTE: Final = {"$ref": "#/$defs/route"}
_CONSTRAINTS: Final = frozenset({"const", "enum", "format", "maxLength", "minLength", "pattern"})


@click.command("schema", short_help="Print the JSON Schema of a config.")
def schema_command() -> None:
    """Print the JSON Schema of a config, with the options of every installed plugin.

    Editors complete and check a config with it.
    """
    print_json(config_schema(installed_plugins()))


def config_schema(plugins: Plugins) -> _Schema:
    """Make the JSON Schema (2020-12) of a config. Where text may hold `${VAR}`, it allows that."""
    usable = list(_usable(plugins))
    routes = [plugin for plugin in usable if plugin.kind in ("backend", "router")]
    processors = [plugin for plugin in usable if plugin.kind == "processor"]
    observers = [plugin for plugin in usable if plugin.kind == "observer"]
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "The routing config of eventtracking",
        "type": "object",
        "properties": {
            "processors": _described(
                _list_of_processors(), "The root chain: what every event passes, in order."
            ),
            "backends": _described(
                _table_of_routes(), "The routes, by name, each isolated from the others."
            ),
            "observers": {
                "type": "array",
                "items": {"$ref": "#/$defs/observer"},
                "description": "They watch the tracker.",
            },
            "context": {"type": "object", "description": "The base context of every event."},
            "strict": {
                "type": "boolean",
                "default": False,
                "description": "Let emit() raise what it would mend.",
            },
        },
        "additionalProperties": False,
        "$defs": {
            "reference": {
                "type": "string",
                "pattern": r"\$\{[A-Za-z_]\w*(:-[^}]*)?\}",
                "description": "${VAR}",
            },
            "processors": {"type": "array", "items": {"$ref": "#/$defs/processor"}},
            "routes": {
                "type": "object",
                "propertyNames": {"pattern": "^[^/]+$"},
                "additionalProperties": _ROUTE,
            },
            "processor": _one_of(processors) | {"required": ["plugin"]},
            "observer": _one_of(observers) | {"required": ["plugin"]},
            "route": (
                _one_of(routes)
                | {
                    "if": {"required": ["plugin"]},
                    "else": {"$ref": "#/$defs/group"},
                }
            ),
            "group": _group(),
            **dict(_definitions(usable)),
        },
    }


def _usable(plugins: Plugins) -> Iterator[Plugin]:
    """Load each usable plugin; the others are told of, and left out."""
    clashes = plugins.clashes()
    for name in plugins.names:
        if name in clashes:
            warn(
                f"{name} is left out: {' and '.join(claim.distribution for claim in clashes[name])}"
                " claim it"
            )
            continue
        try:
            yield plugins.load(name)
        except BrokenPluginError as error:
            (declaration,) = (one for one in plugins.declarations if one.name == name)
            if not adds_commands_only(plugins, declaration):
                warn(f"{name} is left out: {error}")


def _described(schema: _Schema, text: str) -> _Schema:
    return {**schema, "description": text}


def _list_of_processors() -> _Schema:
    return {"$ref": "#/$defs/processors"}


def _table_of_routes() -> _Schema:
    return {"$ref": "#/$defs/routes"}


def _one_of(plugins: list[Plugin]) -> _Schema:
    """A node is a table whose `plugin` decides which keys it may have."""
    if not plugins:  # an empty list is no schema
        return {"type": "object", "properties": {"plugin": _REFERENCE}}
    names = {"enum": [plugin.name for plugin in plugins]}
    return {
        "type": "object",
        "properties": {
            "plugin": {"anyOf": [names, _REFERENCE], "description": "The plugin's name."}
        },
        "allOf": [_branch(plugin) for plugin in plugins],
    }


def _branch(plugin: Plugin) -> _Schema:
    named = {"properties": {"plugin": {"const": plugin.name}}, "required": ["plugin"]}
    return {"if": named, "then": {"$ref": f"#/$defs/plugin.{plugin.name}"}}


def _group() -> _Schema:
    return {
        "description": "A group: routes that share processors.",
        "properties": {"processors": _list_of_processors(), "backends": _some_routes()},
        "required": ["backends"],
        "additionalProperties": False,
    }


def _some_routes() -> _Schema:
    return {**_table_of_routes(), "minProperties": 1}


def _definitions(plugins: list[Plugin]) -> Iterator[tuple[str, _Schema]]:
    for plugin in plugins:
        options = options_of(plugin.plugin_class)
        shared: _Schema = {}
        properties = {
            name: _option(option, plugin.name, shared) for name, option in options.items()
        }
        required = [name for name, option in options.items() if option.default is MISSING]
        yield f"plugin.{plugin.name}", _node(plugin, properties, required)
        yield from shared.items()


def _node(plugin: Plugin, options: Mapping[str, Any], required: list[str]) -> _Schema:
    own: _Schema = {"plugin": {"const": plugin.name}}
    if plugin.kind == "processor":
        own["on_error"] = _with_references({"enum": ["drop", "pass"], "default": "drop"})
    elif plugin.kind != "observer":
        own["processors"] = _list_of_processors()
    if plugin.kind == "router":
        own["backends"] = _some_routes()
        required = [*required, "backends"]
    node = {
        "properties": {**own, **options},
        "required": ["plugin", *required],
        "additionalProperties": False,
    }
    return _described(node, summary_of(plugin))


def _option(option: Option, plugin: str, shared: _Schema) -> _Schema:
    """Make the schema of one option; the definitions that it needs are put into `shared`."""
    schema = option.schema
    prefix = f"plugin.{plugin}."
    for name, definition in schema.pop("$defs", {}).items():
        shared[prefix + name] = _with_references(_renamed(definition, prefix))
    made = _with_references(
        _renamed({key: value for key, value in schema.items() if key != "default"}, prefix)
    )
    if option.help:
        made["description"] = option.help
    if option.secret:
        made["writeOnly"] = True
    elif _is_plain(option.default):
        made["default"] = option.default
    return made


def _is_plain(value: Any) -> bool:
    if isinstance(value, list | tuple):
        return all(_is_plain(item) for item in value)
    return value is not None and isinstance(value, str | int | float)


def _renamed(schema: Any, prefix: str) -> Any:
    """Give the references to shared definitions the plugin's prefix."""
    if isinstance(schema, list):
        return [_renamed(item, prefix) for item in schema]
    if not isinstance(schema, dict):
        return schema
    return {
        key: (
            value.replace("#/$defs/", f"#/$defs/{prefix}")
            if key == "$ref"
            else _renamed(value, prefix)
        )
        for key, value in schema.items()
    }


def _with_references(schema: _Schema) -> _Schema:
    """Let `${VAR}` stand wherever one value stands that is not free text already."""
    schema = {key: _inside(key, value) for key, value in schema.items()}
    if "anyOf" in schema:
        return (
            {**schema, "anyOf": [*schema["anyOf"], _REFERENCE]}
            if _REFERENCE not in schema["anyOf"]
            else schema
        )
    return {"anyOf": [schema, _REFERENCE]} if _is_narrow(schema) else schema


def _inside(key: str, value: Any) -> Any:
    if key in ("items", "additionalProperties") and isinstance(value, dict):
        return _with_references(value)
    if key == "properties":
        return {name: _with_references(schema) for name, schema in value.items()}
    if key in ("anyOf", "prefixItems"):
        return [_with_references(choice) for choice in value]
    return value


def _is_narrow(schema: Mapping[str, Any]) -> bool:
    kind = schema.get("type")
    return kind in ("integer", "number", "boolean", "null") or not _CONSTRAINTS.isdisjoint(schema)
