"""The API in a machine's words: made from the table of routes and the types that validate. Nothing is written twice."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from typing import Any, Protocol

import msgspec

from bty import __version__
from bty.daemon.guards import Guard
from bty.daemon.rows import Problem
from bty.daemon.speech import Speech, speech_of

_PATTERNS = {"mac": r"^[0-9A-Fa-f]{2}([:-][0-9A-Fa-f]{2}){5}$"}
_PREFER = {
    "name": "Prefer",
    "in": "header",
    "required": False,
    "description": "`respond-async` has it done as a job",
    "schema": {"type": "string", "enum": ["respond-async"]},
}
_TEMPLATE = "#/components/schemas/{name}"
_SECURED: list[dict[str, list[str]]] = [{"session": []}, {"token": []}]


class Line(Protocol):
    """What is read of a route."""

    @property
    def method(self) -> str:
        """Its methods, with bars between."""

    @property
    def path(self) -> str:
        """Its path, with names in braces."""

    @property
    def guard(self) -> Guard:
        """Who may call."""

    @property
    def summary(self) -> str:
        """What it does."""

    @property
    def handler(self) -> Callable[..., Any]:
        """What answers."""


def describe(routes: Iterable[Line]) -> Any:
    """Return the OpenAPI 3.1 document of *routes*."""
    routes = list(routes)
    spoken = [speech_of(route.handler) for route in routes]
    types = [
        found
        for speech in spoken
        for found in (speech.body, speech.reply, speech.later)
        if found is not None and not isinstance(found, str)
    ]
    schemas, components = msgspec.json.schema_components([Problem, *types], ref_template=_TEMPLATE)
    known = dict(zip(map(_key, types), schemas[1:], strict=True))
    paths: dict[str, dict[str, Any]] = {}
    for route in routes:
        for method in route.method.split("|"):
            paths.setdefault(route.path, {})[method.lower()] = _operation(route, method, known)
    document = {
        "openapi": "3.1.0",
        "info": {"title": "bty", "version": __version__, "description": "Puts ready-made system images onto the disks of real machines."},
        "paths": paths,
        "components": {
            "schemas": components,
            "securitySchemes": {
                "session": {"type": "apiKey", "in": "cookie", "name": "bty-token"},
                "token": {"type": "http", "scheme": "bearer"},
            },
        },
    }
    return _portable(document)


def _portable(found: Any) -> Any:
    """Return *found* with its patterns as every language reads them: our `\\Z`, the very end, is Python's alone."""
    if isinstance(found, dict):
        return {
            key: value.replace("\\Z", "$") if key == "pattern" and isinstance(value, str) else _portable(value)
            for key, value in found.items()
        }
    return [_portable(item) for item in found] if isinstance(found, list) else found


def _operation(route: Line, method: str, known: dict[str, Any]) -> dict[str, Any]:
    speech = speech_of(route.handler)
    operation: dict[str, Any] = {
        "operationId": _name(method, route.path),
        "summary": route.summary,
        "description": (route.handler.__doc__ or "").strip(),
        "tags": [_tag(route.path)],
        "x-guard": route.guard.value,
        "parameters": [*_path_parameters(route.path), *_query_parameters(speech.query)],
        "responses": {str(speech.status): _success(speech, method, known), "default": _failure()},
    }
    if route.guard not in (Guard.OPEN, Guard.MACHINE):
        operation["security"] = _SECURED if route.guard is Guard.OPERATOR else _SECURED[:1]
    if speech.later is not None:
        operation["parameters"].append(_PREFER)
        operation["responses"]["202"] = {"description": "the job that does it", "content": _content(speech.later, known)}
    if speech.body is not None:
        operation["requestBody"] = {"required": True, "content": _content(speech.body, known)}
    return operation


def _success(speech: Speech, method: str, known: dict[str, Any]) -> dict[str, Any]:
    answer: dict[str, Any] = {"description": "done"}
    if speech.reply is not None and method != "HEAD":
        answer["content"] = _content(speech.reply, known)
    return answer


def _content(found: Any, known: dict[str, Any]) -> dict[str, Any]:
    if isinstance(found, str):
        binary = found == "application/octet-stream"
        return {found: {"schema": {"type": "string", **({"format": "binary"} if binary else {})}}}
    return {"application/json": {"schema": known[_key(found)]}}


def _failure() -> dict[str, Any]:
    return {"description": "what went wrong", "content": {"application/json": {"schema": {"$ref": _TEMPLATE.format(name="Problem")}}}}


def _path_parameters(path: str) -> list[dict[str, Any]]:
    return [
        {
            "name": name,
            "in": "path",
            "required": True,
            "schema": {"type": "string", "pattern": _PATTERNS[name]} if name in _PATTERNS else {"type": "string", "minLength": 1},
        }
        for name in re.findall(r"{(\w+)}", path)
    ]


def _query_parameters(query: Any) -> list[dict[str, Any]]:
    if query is None:
        return []
    (schema,), components = msgspec.json.schema_components([query], ref_template="{name}")
    own = components[schema["$ref"]]
    parameters = []
    for name, facts in own["properties"].items():
        facts = _inlined(facts, components)
        description = facts.pop("description", "")
        parameters.append(
            {"name": name, "in": "query", "required": name in own.get("required", ()), "description": description, "schema": facts}
        )
    return parameters


def _inlined(facts: dict[str, Any], components: dict[str, Any]) -> dict[str, Any]:
    if "$ref" in facts:
        return {key: value for key, value in components[facts["$ref"]].items() if key not in ("title", "description")}
    if "anyOf" in facts:  # null cannot be written in a query
        (only,) = [_inlined(part, components) for part in facts["anyOf"] if part.get("type") != "null"]
        return only
    return {key: value for key, value in facts.items() if key != "default" or value is not None}


def _name(method: str, path: str) -> str:
    words = re.findall(r"[A-Za-z0-9]+", path)
    return "_".join([method.lower(), *words])


def _tag(path: str) -> str:
    return re.findall(r"[A-Za-z0-9-]+", path)[0] if len(path) > 1 else "meta"


def _key(found: Any) -> str:
    return repr(found)
