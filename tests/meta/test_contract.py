"""The contract for machines: every route stands in it, and docs/reference/ is what the code makes (`make reference`)."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest
from starlette.routing import Mount, Route, WebSocketRoute

from runstate import Pipeline, Runstate
from runstate.server.access import Policy
from runstate.server.app import make_api
from runstate.server.contract.asyncapi import asyncapi
from runstate.server.contract.openapi import openapi
from runstate.server.contract.schemas import all_schemas
from tests.meta.tree import ROOT

REFERENCE = ROOT / "docs" / "reference"


def references() -> dict[str, Any]:
    """Return what docs/reference holds."""
    local = json.loads(json.dumps(all_schemas()).replace("#/components/schemas/", "#/$defs/"))
    schemas = {"$schema": "https://json-schema.org/draft/2020-12/schema", "$defs": local}
    return {"openapi.json": openapi(), "asyncapi.json": asyncapi(), "schemas.json": schemas}


def spelled(value: object) -> str:
    return json.dumps(value, indent=1, ensure_ascii=False) + "\n"


def write_references() -> None:
    """Write the files; `make reference`."""
    for name, value in references().items():
        (REFERENCE / name).write_text(spelled(value))


@pytest.mark.parametrize("name", list(references()))
def test_the_reference_is_what_the_code_makes(name: str) -> None:
    assert (REFERENCE / name).read_text() == spelled(references()[name]), "run `make reference`"


def test_every_route_stands_in_the_contract(tmp_path: Path) -> None:
    """A route without an entry in `server/contract/operations.py`, and an entry without a route, fail here."""

    work = Pipeline("work")
    work.command("fetch", "true")

    async def routes() -> set[str]:
        app = Runstate([work], tmp_path)
        async with app.lifespan():
            return set(_named(make_api(app.engine, Policy()).routes))

    served = asyncio.run(routes())
    written = {f"{method.upper()} {path}" for path, methods in openapi()["paths"].items() for method in methods}
    sockets = {f"WS {channel['address']}" for channel in asyncapi()["channels"].values() if "bindings" in channel}

    assert served == written | sockets


def _named(routes: list[Any], below: str = "") -> list[str]:
    names = []
    for route in routes:
        if isinstance(route, Mount):
            names += _named(route.routes, below + route.path)
        elif (
            isinstance(route, WebSocketRoute) and route.path != "/{path:path}"
        ):  # that one refuses whatever else is asked
            names.append(f"WS {below}{route.path}")
        elif (
            isinstance(route, Route)
            and route.include_in_schema
            and (below or route.path in ("/health", "/ready", "/metrics"))
        ):
            path = route.path.replace(":path}", "}")
            names += [f"{method} {below}{path}" for method in (route.methods or set()) - {"HEAD"}]
    return names


if __name__ == "__main__":
    write_references()
