"""Eight processes start one pipeline again and again: each time one wins, and the others are told of whom.

A few rounds by default; `make sweep` takes 200.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

from tests.acceptance.conftest import working
from tests.acceptance.judge import get

ROUNDS = 200 if os.environ.get("RUNSTATE_SWEEP") == "1" else 4
RACERS = 8

HOLD = """
work = Pipeline("work", progress_interval_s=0)

@work.stage
async def hold(ctx):
    await asyncio.Event().wait()
"""

RACER = """
import http.client, json, sys
client = http.client.HTTPConnection(sys.argv[1], timeout=60)
client.connect()
print("ready", flush=True)
for line in sys.stdin:
    client.request("POST", "/api/pipeline/start", json.dumps({"metadata": {"who": sys.argv[2]}}), {"Content-Type": "application/json"})
    answer = client.getresponse()
    print(json.dumps([answer.status, json.loads(answer.read())]), flush=True)
"""


@pytest.fixture
def bench(tmp_path, request):
    with working(tmp_path, request) as bench:
        yield bench


@pytest.mark.rule("C4")
@pytest.mark.timeout(900)
def test_each_time_exactly_one_run_is_active(bench):
    server = bench.serve(HOLD)
    racers = [
        subprocess.Popen(
            [sys.executable, "-S", "-c", RACER, server.url.removeprefix("http://"), str(number)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for number in range(RACERS)
    ]
    try:
        for racer in racers:
            assert racer.stdout.readline() == "ready\n"
        for _ in range(ROUNDS):
            for racer in racers:
                racer.stdin.write("go\n")
                racer.stdin.flush()
            answers = [json.loads(racer.stdout.readline()) for racer in racers]
            assert sorted(status for status, _ in answers) == [202] + [409] * (RACERS - 1)
            winner = next(body for status, body in answers if status == 202)
            losers = [body for status, body in answers if status == 409]
            assert {body["document"]["run_id"] for body in losers} == {winner["run_id"]}
            active = get(server.http, "/api/runs?status=running").json()["runs"]
            assert [run["run_id"] for run in active] == [winner["run_id"]]
            answer = server.stop_run(winner["run_id"])
            assert answer.status_code == 202
            while answer.status_code == 304 or answer.json()["state"] != "stopped":
                waiting = {"If-None-Match": answer.headers["etag"], "Prefer": "wait=60"}
                answer = server.http.get(f"/api/runs/{winner['run_id']}", headers=waiting)
        assert len(get(server.http, "/api/runs?limit=1000").json()["runs"]) == ROUNDS
    finally:
        for racer in racers:
            racer.kill()
            racer.communicate()
    print(f"{ROUNDS} rounds of {RACERS} starts")
