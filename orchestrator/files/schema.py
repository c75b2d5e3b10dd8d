"""JSON Schemas of both files, for editors: they accept the short forms and refuse unknown keys.

They are made from the models, so they cannot fall behind; what only shows across fields stays with `load_experiment`.
"""

import json

from pydantic import BaseModel
from pydantic.json_schema import JsonSchemaValue

from orchestrator.domain.check import ReportFormat
from orchestrator.domain.durations import MAX_DURATION_SECONDS
from orchestrator.domain.experiment import Experiment, Loop, limit_names, loop_parameter_names
from orchestrator.domain.fleet import Fleet
from orchestrator.domain.limits import Limits

_DIALECT = "https://json-schema.org/draft/2020-12/schema"
_NUMBER = r"[0-9]+(\.[0-9]+)?"
_DURATION: JsonSchemaValue = {
    "description": "A duration up to 21 days: seconds, or text like 90s, 15m, 1h30m.",
    "anyOf": [
        {"type": "number", "exclusiveMinimum": 0, "maximum": MAX_DURATION_SECONDS},
        {"type": "string", "pattern": rf"^\s*({_NUMBER}|({_NUMBER}\s*(d|h|m|s|ms)\s*)+)\s*$"},
    ],
}
_NAME = "^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$"


def experiment_schema() -> JsonSchemaValue:
    """JSON Schema (draft 2020-12) of the experiment file."""
    schema = _schema(Experiment, "Bakeoff experiment file")
    definitions = schema["$defs"]
    for name, meaning in (
        ("Profile", "One model of the fleet for every stage."),
        ("Check", "A shell command; exit 0 = pass."),
        ("Loop", "A loop with its defaults."),
    ):
        short = {"type": "string", "minLength": 1, "description": meaning}
        if name == "Loop":
            short = {"enum": definitions[name]["properties"]["kind"]["enum"], "description": meaning}
        definitions[name] = {"anyOf": [short, definitions[name]]}
    _accept_model_key(definitions["Profile"]["anyOf"][1])
    _accept_short_report(definitions)
    definitions["Target"]["allOf"] = [_either("repo", "worktree"), _either("task", "prompt")]
    schema["properties"]["limits"] = _limits(schema["properties"]["limits"]["description"])
    definitions["Duration"] = _DURATION
    definitions["Choice"] = _one_or_more({"type": ["string", "number", "null"]})
    axes = {name: {"$ref": "#/$defs/Choice"} for name in ("target", "profile", *limit_names())}
    rule = {"type": "object", "properties": axes, "additionalProperties": False, "minProperties": 1}
    definitions["Rule"] = rule
    for kind in ("include", "exclude"):
        schema["properties"][kind]["items"] = {"$ref": "#/$defs/Rule"}
    return schema


def fleet_schema() -> JsonSchemaValue:
    """JSON Schema (draft 2020-12) of the fleet file."""
    schema = _schema(Fleet, "Bakeoff fleet file")
    definitions = schema["$defs"]
    definitions["FleetModel"] |= _either("account", "pool")
    definitions["Duration"] = _DURATION
    definitions["ModelPrices"]["properties"]["dated"]["pattern"] = r"^\d{4}-\d{2}-\d{2}$"
    for server in ("Account", "Pool"):
        definitions[server]["properties"]["base_url"]["pattern"] = "^https?://[^/@]+(/[^@]*)?$"
        key = definitions[server]["properties"]["key"]["anyOf"][0]
        key["pattern"] = "^(env|file):."
    return schema


def _either(one: str, other: str) -> JsonSchemaValue:
    return {"oneOf": [{"required": [one]}, {"required": [other]}]}


def _schema(model: type[BaseModel], title: str) -> JsonSchemaValue:
    schema = model.model_json_schema()
    _tidy(schema)
    return {"$schema": _DIALECT, **schema, "title": title}


def _accept_model_key(profile: JsonSchemaValue) -> None:
    model = {"type": "string", "description": "Model of every stage, instead of 'reasoning' and 'build'."}
    profile["properties"] = {"model": model, **profile["properties"]}
    del profile["required"]
    both = {"required": ["reasoning", "build"], "not": {"required": ["model"]}}
    neither = {"not": {"anyOf": [{"required": ["reasoning"]}, {"required": ["build"]}]}}
    profile["oneOf"] = [{"required": ["model"], **neither}, both]


def _accept_short_report(definitions: JsonSchemaValue) -> None:
    formats = {"enum": definitions["ReportFormat"]["enum"], "description": "The format of the check's output."}
    file = {"type": "string", "minLength": 1}
    by_format = {
        "type": "object",
        "properties": {name: file for name in formats["enum"] if name != ReportFormat.NONE},
        "additionalProperties": False,
        "minProperties": 1,
        "maxProperties": 1,
        "description": "A format, and the file in that format in the checkout.",
    }
    definitions["Report"] = {"anyOf": [formats, by_format]}
    files = definitions["Check"]["anyOf"][1]["properties"]["files"]
    many = {key: files.pop(key) for key in ("type", "items")}
    files["anyOf"] = [file, many]


def _limits(description: str) -> JsonSchemaValue:
    limits, loop = Limits.model_json_schema()["properties"], Loop.model_json_schema()["properties"]
    properties = {**limits, **{name: loop[name] for name in loop_parameter_names()}}
    for name, one in properties.items():
        _tidy(one)
        outside = {key: one.pop(key) for key in ("description", "default") if key in one}
        properties[name] = {**outside, **_one_or_more(one)}
    return {"type": "object", "description": description, "properties": properties, "additionalProperties": False}


def _one_or_more(one: JsonSchemaValue) -> JsonSchemaValue:
    return {"anyOf": [one, {"type": "array", "items": one, "minItems": 1, "uniqueItems": True}]}


def _tidy(schema: object) -> None:
    """Drop generated titles, name the form of durations, and hold the keys of mappings to names."""
    if isinstance(schema, list):
        for item in schema:
            _tidy(item)
    if not isinstance(schema, dict):
        return
    if isinstance(schema.get("title"), str):
        del schema["title"]
    if "gt" in schema and "anyOf" in schema:  # what pydantic makes of `Seconds`
        for key in ("gt", "le", "anyOf"):
            del schema[key]
        schema["$ref"] = "#/$defs/Duration"
    if isinstance(schema.get("additionalProperties"), dict) and "$ref" in schema["additionalProperties"]:
        schema["propertyNames"] = {"pattern": _NAME}
    for key, item in schema.items():
        _tidy(list(item.values()) if key in ("properties", "$defs") else item)


def schema_text(schema: JsonSchemaValue) -> str:
    """A schema as the text that is checked in under docs/reference."""
    return json.dumps(schema, indent=2, ensure_ascii=False) + "\n"
