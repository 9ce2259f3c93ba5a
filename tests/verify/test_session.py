"""What `verify` makes of servers that are honest, idle, slow, away or not to be talked to."""

from __future__ import annotations

import asyncio
import json
import socket
import time

import pytest

from runstate.client import Problem, ServerUnreachable
from runstate.core.errors import PeerError
from runstate.verify import PROMISES, verify
from runstate.verify.chaos import chance, plan
from tests.cli.terminal import assert_refused, caller, runstate
from tests.verify.conftest import Starter, served
from tests.verify.lying_answers import Hangs
from tests.verify.lying_streams import BreaksTheChain, ChangesAByte, GoesBack, SwapsTwo
from tests.verify.proxy import Proxy


def check(url: str, **options):
    return asyncio.run(verify(url, **{"seed": 7, "seconds": 2.0} | options))


def test_an_honest_server_keeps_every_promise(busy_server):
    outcome = check(busy_server.url, seconds=3.0)

    assert (outcome.verdict, outcome.broken, outcome.unproved) == ("kept", None, [])
    assert outcome.commits > 20
    assert outcome.joint_commits > 0
    assert {
        "poll",
        "long-poll busy",
        "sse",
        "sse-delta",
        "websocket",
        "websocket-delta",
        "websocket-every",
        "python-client",
    } <= {one.name for one in outcome.readers if one.messages}


def test_an_honest_server_stands_chaos(busy_server, seed):
    """Readers that cut, stall and resume their own connections miss nothing."""
    outcome = check(busy_server.url, seconds=6.0, chaos=True, seed=seed)

    assert (outcome.verdict, outcome.broken) == ("kept", None)
    assert {act for one in outcome.readers for act, count in one.acts.items() if count} >= {"cut", "renew", "stall"}


def test_chaos_is_the_same_for_the_same_seed():
    def acts(seed):
        return plan(chance(seed, "websocket"), 60, chaos=True, can_ask=True)

    assert acts(1) == acts(1)
    assert acts(1) != acts(2)
    assert {act.what for act in acts(1)} == {"cut", "renew", "stall", "ask"}
    assert all(0 <= act.at_s <= 60 for act in acts(1))


def test_nothing_is_proved_where_nothing_happens(calm_server):
    outcome = check(calm_server.url, seconds=1.0)

    assert outcome.verdict == "nothing proved"
    assert outcome.unproved == list(PROMISES)


def test_a_run_can_be_started_so_that_there_is_something_to_see(calm_server):
    told: list[str] = []

    outcome = check(calm_server.url, start="busy", tell=told.append)
    check(calm_server.url, seconds=1.0, start="nobody", tell=told.append)

    assert outcome.commits > 5
    assert told[0].startswith("started run ")
    assert told[1].startswith("nobody was not started: ")


def test_who_is_not_there_is_unreachable():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]

    with pytest.raises(ServerUnreachable):
        check(f"http://127.0.0.1:{port}")


def test_who_never_answers_is_unreachable():
    with socket.create_server(("127.0.0.1", 0)) as mute:
        begun = time.monotonic()

        with pytest.raises(ServerUnreachable):
            check(f"http://127.0.0.1:{mute.getsockname()[1]}")

    assert time.monotonic() - begun < 12


def test_a_server_that_hangs_in_the_middle_does_not_hold_it(busy_server):
    begun = time.monotonic()

    with Proxy(busy_server.url, Hangs()) as proxy, pytest.raises(ServerUnreachable):
        check(proxy.url)

    assert time.monotonic() - begun < 14  # with the proxy's own start and end


def test_a_token_is_needed_where_the_server_wants_one(tmp_path):
    with served(tmp_path, "--token", "secret-of-mine") as server:
        with pytest.raises(Problem):
            check(server.url)

        with Starter(server.url, token="secret-of-mine"):
            outcome = check(server.url, token="secret-of-mine")

    assert (outcome.verdict, outcome.broken) == ("kept", None)


def test_another_server_is_told_from_ours(calm_server):
    with pytest.raises(PeerError, match="no runstate server"):
        check(f"{calm_server.url}/nowhere")


def test_the_command_prints_every_promise_and_exits_0(busy_server, tmp_path):
    done = caller(busy_server, tmp_path)("verify", "--seconds", 3, "--seed", 7)

    assert done.returncode == 0, done.stdout
    assert [line.split()[0] for line in done.stdout.splitlines() if " kept " in line] == list(PROMISES)
    assert "seed 7" in done.stderr


def test_the_command_speaks_json(busy_server, tmp_path):
    done = caller(busy_server, tmp_path)("verify", "--seconds", 3, "--chaos", "--json")

    answer = json.loads(done.stdout)
    assert (done.returncode, answer["verdict"], answer["broken"]) == (0, "kept", None)
    assert {promise["promise"]: promise["verdict"] for promise in answer["promises"]} == dict.fromkeys(PROMISES, "kept")
    assert isinstance(answer["seed"], int)
    assert done.stderr == ""


def test_the_command_exits_1_where_nothing_is_proved(calm_server, tmp_path):
    done = caller(calm_server, tmp_path)("verify", "--seconds", 1)

    assert done.returncode == 1
    assert "nothing proved: nothing was committed while we looked" in done.stdout


@pytest.mark.parametrize(
    ("liar", "says"),
    [
        (ChangesAByte, ["byte-identical", "the bytes have sha-256:", "1999-12-31"]),
        (BreaksTheChain, ["gap-free", "the stream is at", "websocket: transition"]),
        (SwapsTwo, ["gap-free", "the stream is at", "websocket: transition"]),
        (GoesBack, ["ordered", "a document went back", "after v"]),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_the_command_exits_1_with_the_evidence(busy_server, tmp_path, liar, says):
    """Which promise, who saw what and when, and what to type to see it again; no insides of ours."""
    with Proxy(busy_server.url, liar()) as proxy:
        done = runstate(
            "verify", "--url", proxy.url, "--seconds", 3, "--seed", 7, "--start", "calm", cwd=tmp_path, COLUMNS="200"
        )

    assert done.returncode == 1, done.stdout
    verdict = next(line for line in done.stdout.splitlines() if line.startswith("BROKEN: "))
    assert verdict.startswith(f"BROKEN: {says[0]}: ")
    evidence = done.stdout[done.stdout.index(verdict) :]
    assert all(words in evidence for words in says[1:]), evidence
    assert "Stepped(" not in evidence and "Snapped(" not in evidence
    assert f"again: runstate verify --url {proxy.url} --seconds 3 --start calm --seed 7" in evidence


def test_the_command_exits_3_where_nobody_is(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]

    done = runstate("verify", "--url", f"http://127.0.0.1:{port}", "--json", cwd=tmp_path)

    assert_refused(done, 3, "no runstate server answers")
