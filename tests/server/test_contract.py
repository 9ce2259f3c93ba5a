"""The contract for machines: what the server says fits it, and no request of it ends in a 500."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import jsonschema_rs
import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from schemathesis import GenerationMode
from schemathesis.specs.openapi.checks import negative_data_rejection, positive_data_acceptance

from runstate import Pipeline, Runstate
from runstate.core.position import Position
from runstate.core.reader import Topics
from runstate.server.contract.asyncapi import asyncapi
from runstate.server.contract.openapi import openapi
from runstate.state.bus import Wanted
from tests.acceptance.conftest import bench  # noqa: F401 - a fixture
from tests.acceptance.harness import Bench
from tests.meta.test_contract import references

EXAMPLES = 25  # requests per operation; all of them in some 10 s
ENDLESS = {"/api/stream"}


def make_pipeline() -> Pipeline:
    work = Pipeline("work", progress_interval_s=0)

    @work.stage
    async def fetch(ctx):
        ctx.log("begun")
        ctx.progress(1, total=2, unit="files")
        ctx.progress(1.5, message="half")
        return {"rows": 3}

    return work


def test_the_schemas_are_schemas_and_refer_to_what_is_there() -> None:
    schemas = references()["schemas.json"]
    assert jsonschema_rs.meta.is_valid(schemas)
    for name in schemas["$defs"]:
        jsonschema_rs.validator_for({**schemas, "$ref": f"#/$defs/{name}"})
    for document in (openapi(), asyncapi()):
        text = json.dumps(document)
        for reference in set(_references(document)):
            assert _found(document, reference) is not None, reference
        assert text.count("$ref") > 50


def _references(value: Any) -> list[str]:
    if isinstance(value, dict):
        own = [value["$ref"]] if isinstance(value.get("$ref"), str) else []
        return own + [found for member in value.values() for found in _references(member)]
    return [found for member in value for found in _references(member)] if isinstance(value, list) else []


def _found(document: Any, reference: str) -> Any:
    for part in reference.removeprefix("#/").split("/"):
        document = document[part]
    return document


def closed(schema: Any) -> Any:
    """Return the schema so that a member that it does not name is wrong: clients take it, our own server never says it."""
    if isinstance(schema, list):
        return [closed(one) for one in schema]
    if not isinstance(schema, dict):
        return schema
    shut = {name: closed(member) for name, member in schema.items()}
    return shut | {"additionalProperties": False} if "required" in shut and "properties" in shut else shut


@pytest.mark.rule("F1", "F9", "D1", "D8")
def test_what_a_stream_says_fits_the_schemas(tmp_path: Path) -> None:
    """Every kind of frame, whole and as patches, without a member too many or too few."""

    async def frames() -> list[bytes]:
        app = Runstate([make_pipeline()], tmp_path)
        said: list[bytes] = []
        async with app.lifespan():
            bus = app.manager.bus
            whole, patched = Wanted(mode="every"), Wanted(mode="every", delta=True)
            with bus.subscribe(app.manager, whole) as one, bus.subscribe(app.manager, patched) as two:
                run = await app.orchestrator.start(metadata={"day": "2026-11-23"})
                await app.orchestrator.finished(run.key.id)
                bus.drain()
                said += [frame.data async for frame in _until_bye(one)]
                said += [frame.data async for frame in _until_bye(two)]
            late = Wanted(Topics(), resume=Position("99999999999-00000000", 1))
            with bus.subscribe(app.manager, late) as three:
                said += [frame.data async for frame in _until_bye(three)]
        return said

    said = asyncio.run(frames())
    fits = jsonschema_rs.validator_for({**closed(references()["schemas.json"]), "$ref": "#/$defs/Frame"})
    kinds = {json.loads(data)["type"] for data in said}

    assert kinds == {"hello", "snapshot", "transition", "bye"}
    assert any(b'"patch"' in data for data in said)
    for data in said:
        wrong = [f"{error.instance_path}: {error.message}" for error in fits.iter_errors(json.loads(data))]
        assert wrong == [], data


async def _until_bye(subscription):
    async for frame in subscription:
        yield frame
        if frame.close is not None:
            return


@pytest.mark.rule("C7", "H9")
def test_no_request_of_the_contract_ends_in_a_500(bench: Bench) -> None:  # noqa: F811 - the fixture
    """Schemathesis: requests that fit the contract and requests that do not; what comes back is what it says."""
    server = bench.serve(
        """
work = Pipeline("work")

@work.stage
async def fetch(ctx):
    return {"file": "report.html"}
"""
    )
    run_id = server.start_run()["run_id"]
    server.wait_over(run_id)
    document = server.http.get("/api/openapi.json").json()
    assert document == openapi()
    schema = schemathesis.openapi.from_dict(_with_what_is_there(document, run_id))
    schema.config.update(base_url=server.url)
    tried = 0
    for operation in (found.ok() for found in schema.get_all_operations()):
        if operation.path in ENDLESS:
            continue

        @settings(
            max_examples=EXAMPLES, deadline=None, phases=[Phase.explicit, Phase.generate], derandomize=True,
            database=None, suppress_health_check=list(HealthCheck),
        )  # fmt: skip
        @given(case=operation.as_strategy() | operation.as_strategy(generation_mode=GenerationMode.NEGATIVE))
        def check(case) -> None:
            nonlocal tried
            tried += 1
            answer = case.call()
            # Excluded: what the state of things refuses (412) fits the contract, and headers like Prefer refuse nothing.
            case.validate_response(answer, excluded_checks=[positive_data_acceptance, negative_data_rejection])

        check()

    assert tried > 200
    assert server.http.get("/ready").status_code == 200
    server.terminate()  # its history was compacted by one of the requests, so the bench has nothing to judge


def _with_what_is_there(document: dict[str, Any], run_id: str) -> dict[str, Any]:
    """Return the contract with parameters that often name what exists, and never make the server wait."""
    known: dict[str, Any] = {
        "run_id": {"anyOf": [{"const": run_id}, {"type": "string", "minLength": 1}]},
        "name": {"anyOf": [{"const": "work"}, {"type": "string", "minLength": 1}]},
        "version": {"anyOf": [{"type": "integer", "minimum": 1, "maximum": 5}, {"type": "string", "minLength": 1}]},
        "wait": {"const": 0},
        "follow": {"const": "0"},
        "min": {"const": "1-00000000.1"},
        "Prefer": {"const": "wait=0"},
    }
    for methods in document["paths"].values():
        for operation in methods.values():
            for parameter in operation.get("parameters", ()):
                parameter["schema"] = known.get(parameter["name"], parameter["schema"])
                if parameter["name"] == "after" and "pattern" in parameter["schema"]:
                    parameter["schema"] = known["min"]
    return document
