"""The market pipeline is three plain stages; its configuration is named by the run or by the environment."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from pathlib import Path

import httpx
import pytest

from runstate import Fatal, Runstate
from runstate.market import market
from runstate.market.demo import write_demo
from runstate.market.failures import MarketError
from runstate.market.folder import OutFolder
from runstate.market.pipeline import find_config, translator
from tests.market.world import FakeContext, bar, write_project


def test_the_pipeline_has_its_three_stages_as_child_processes():
    assert [(stage.name, stage.is_async) for stage in market.stages] == [
        ("translator", False),
        ("analyzer", False),
        ("merger", False),
    ]


def test_importing_the_pipeline_is_light():
    """The server imports it; polars and its friends are for the stages' own processes."""
    code = "import sys, runstate.market; print([m for m in ('polars', 'pandas', 'exchange_calendars') if m in sys.modules])"

    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert done.stdout.strip() == "[]"


@pytest.mark.rule("H11")
def test_the_shipped_demo_runs_on_a_server_that_shows_its_report(tmp_path):
    """The outputs name the reports, so the run page links to them; they come sandboxed, and the bars do not come at all."""
    config = write_demo(tmp_path / "demo")

    async def main() -> None:
        app = Runstate([market], tmp_path / "data")
        transport = httpx.ASGITransport(app)
        async with app.lifespan(), httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
            started = await client.post("/api/pipelines/market/start", json={"metadata": {"config": str(config)}})
            run_id = started.json()["run_id"]
            run = (await app.orchestrator.finished(run_id)).run.to_dict()
            outputs = run["stages"]["merger"]["outputs"]
            assert outputs["streams"] == {
                "EURUSD1": {"trades": 246, "win_rate": 0.4512, "profit": 395.8, "drawdown": 140.4}
            }
            page = await client.get(f"/api/runs/{run_id}/files{outputs['report_html']}")
            assert (page.status_code, page.content) == (200, (config.parent / "out/report.html").read_bytes())
            assert page.headers["content-type"].startswith("text/html")
            assert page.headers["content-security-policy"] == "sandbox"
            figures = await client.get(f"/api/runs/{run_id}/files{outputs['report_json']}")
            assert figures.json()["streams"][0]["profit"] == 395.8
            assert (await client.get(f"/api/runs/{run_id}/files{config}")).status_code == 404

    asyncio.run(main())


@pytest.mark.parametrize(
    ("metadata", "environment", "found"),
    [
        ({"config": "a/m.toml"}, {}, "cwd/a/m.toml"),
        ({}, {"RUNSTATE_MARKET_CONFIG": "m.toml"}, "cwd/m.toml"),
        ({"config": "m.toml"}, {"RUNSTATE_MARKET_CONFIG": "other.toml"}, "cwd/m.toml"),
        ({"config": "m.toml"}, {"RUNSTATE_TARGET_DIR": "{0}/served"}, "served/m.toml"),
        ({"config": "{0}/served/a/m.toml"}, {"RUNSTATE_TARGET_DIR": "{0}/served"}, "served/a/m.toml"),
        ({"config": "a/../m.toml"}, {"RUNSTATE_TARGET_DIR": "{0}/served"}, "served/m.toml"),
        ({"config": "{0}/elsewhere/m.toml"}, {}, "elsewhere/m.toml"),
    ],
)
def test_the_configuration_is_found(tmp_path, metadata, environment, found):
    metadata, environment = ({k: v.format(tmp_path) for k, v in d.items()} for d in (metadata, environment))

    assert find_config(metadata, environment, tmp_path / "cwd") == tmp_path / found


@pytest.mark.parametrize("named", ["../m.toml", "{0}/m.toml", "link/m.toml", "a/../../m.toml", "link.toml"])
def test_a_configuration_outside_the_served_folder_is_refused(tmp_path, named):
    """Neither a path nor a symbolic link leads out of it."""
    served = tmp_path / "served"
    served.mkdir()
    (tmp_path / "m.toml").write_text("")
    (served / "link").symlink_to(tmp_path)
    (served / "link.toml").symlink_to(tmp_path / "m.toml")
    named = named.format(tmp_path)

    with pytest.raises(MarketError) as refused:
        find_config({"config": named}, {"RUNSTATE_TARGET_DIR": str(served)}, tmp_path)

    assert str(refused.value) == f"config {named} lies outside {served}; put it below the folder that is served"


@pytest.mark.parametrize("metadata", [{}, {"config": ""}, {"config": 3}, {"config": None}])
def test_without_a_configuration_the_stage_says_how_to_give_one(metadata):
    with pytest.raises(
        MarketError, match=r'start the run with metadata {"config": "market.toml"} or set RUNSTATE_MARKET_'
    ):
        find_config(metadata, {}, Path("/"))


def test_a_mistake_in_the_configuration_fails_the_stage_for_good(tmp_path):
    """No retry can help, so it is fatal and has its code."""
    config = write_project(tmp_path, {"x.csv": bar("20110103 120000")}, dialect="excel")

    with pytest.raises(Fatal) as refused:
        translator(FakeContext(str(config), tmp_path))

    assert (str(refused.value), refused.value.code) == (
        f"{config}:5: there is no dialect 'excel'; use ninjatrader, metatrader, dukascopy, lean, binance-kline, "
        "cryptodatadownload, iso or custom",
        "bad_config",
    )


def test_two_runs_do_not_write_one_folder_at_once(tmp_path):
    config = write_project(tmp_path, {"x.csv": bar("20110103 120000")})

    with OutFolder(tmp_path / "out").locked(), pytest.raises(Fatal, match="another run is writing") as refused:
        translator(FakeContext(str(config), tmp_path))

    assert refused.value.code == "in_use"
