"""The OpenAPI 3.1 document of the HTTP routes."""

from __future__ import annotations

import re
from collections import defaultdict
from importlib.metadata import version
from typing import Any

from runstate.server.contract.operations import OPERATIONS, Answer, Operation, Parameter
from runstate.server.contract.schemas import Schema, all_schemas, ref, text
from runstate.server.problems import STATUS_OF

EVERYWHERE = ("bad_query", "unauthorized", "forbidden", "not_found")
_PROOFS = {
    "ETag": "The document's position, quoted (V4).",
    "Repr-Digest": "SHA-256 of the body (RFC 9530).",
    "Runstate-Position": "Of the server's head.",
}


def openapi() -> dict[str, Any]:
    """Return the document."""
    paths: dict[str, dict[str, Any]] = defaultdict(dict)
    for place, operation in OPERATIONS.items():
        method, path = place.split(" ", 1)
        paths[path][method.lower()] = _operation(place, path, operation)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "runstate",
            "version": version("runstate"),
            "description": "One true state for every pipeline run. Names such as H1 are the rules of docs/protocol.md.",
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "security": [{}, {"bearer": []}, {"session": []}],
        "paths": dict(paths),
        "components": {
            "schemas": all_schemas(),
            "securitySchemes": {
                "bearer": {"type": "http", "scheme": "bearer"},
                "session": {"type": "apiKey", "in": "cookie", "name": "runstate_session"},
            },
        },
    }


def _operation(place: str, path: str, operation: Operation) -> dict[str, Any]:
    named: dict[str, Any] = {
        "operationId": "_".join(re.findall(r"[a-z]+", place.lower().replace("/api/", "/"))),
        "summary": operation.about,
        "tags": [operation.tag],
        "parameters": [
            *(
                {"name": name, "in": "path", "required": True, "schema": text()}
                for name in re.findall(r"{(.*?)}", path)
            ),
            *map(_parameter, operation.parameters),
        ],
        "responses": _responses(path, operation),
    }
    if operation.body is not None:
        schema: Schema = {"type": "object", "properties": dict(operation.body), "additionalProperties": False}
        if operation.needed:
            schema["required"] = list(operation.needed)
        required = bool(operation.needed)
        named["requestBody"] = {"required": required, "content": {"application/json": {"schema": schema}}}
    return named


def _parameter(parameter: Parameter) -> dict[str, Any]:
    return {
        "name": parameter.name,
        "in": parameter.place,
        "description": parameter.about,
        "required": False,
        "schema": parameter.schema,
    }


def _responses(path: str, operation: Operation) -> dict[str, Any]:
    responses = {str(operation.answer.status): _good(operation.answer)}
    if operation.unchanged:
        responses["304"] = {"description": "Nothing is newer.", "headers": _headers()}
    everywhere = EVERYWHERE if path.startswith("/api") else ("bad_query", "forbidden")
    by_status: dict[int, list[str]] = defaultdict(list)
    for code in (*everywhere, *operation.codes):
        by_status[STATUS_OF[code]].append(code)
    for status, codes in sorted(by_status.items()):
        responses[str(status)] = {
            "description": " or ".join(f"`{code}`" for code in codes),
            "content": {"application/problem+json": {"schema": ref("Problem")}},
        }
    return responses


def _good(answer: Answer) -> dict[str, Any]:
    good: dict[str, Any] = {"description": "As asked."}
    if answer.schema is not None:
        good["content"] = {answer.kind: {"schema": answer.schema}}
    if answer.proves:
        good["headers"] = _headers()
    return good


def _headers() -> dict[str, Any]:
    return {name: {"description": about, "schema": text()} for name, about in _PROOFS.items()}
