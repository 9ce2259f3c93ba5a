"""Readers that were away, want every version, take patches or misbehave: nothing is lost, nothing comes twice, nobody else notices.

Longer than other files: one rule's cases stand together.
"""

from __future__ import annotations

import json
import random
import socket
import statistics
import subprocess
import threading
import time
from datetime import datetime
from urllib.parse import urlsplit

import jsonpatch
import psutil
import pytest
import rfc8785

from tests.acceptance.harness import RUNSTATE, TWO_STAGES
from tests.acceptance.judge import DECODER, TIME, get, history_of, judge_run, order, sha
from tests.acceptance.puppets import PATIENCE_S
from tests.acceptance.watching import Frame, SseWatch, Watch, WsWatch, documents_of

BUSY = (
    TWO_STAGES
    + TWO_STAGES.replace("work", "other")
    + """
busy = Pipeline("busy", progress_interval_s=0)

@busy.stage
async def flood(ctx):
    size, pace_s, most = (ctx.metadata.get(name) for name in ("size", "pace_s", "most"))
    done = 0
    while not (ctx.workdir / "enough").exists() and done < most:
        done += 1
        ctx.progress(done, total=most, message=("é\\u2028\\u0085~/" * size)[:size] + str(done))
        if done % 97 == 0:
            ctx.update_metadata({"a/b~c": {"n": [done, {"m": done / 2}]}, "odd": done if done % 2 else None})
        await asyncio.sleep(pace_s if (ctx.workdir / "slow").exists() else ctx.metadata.get("hurry_s", pace_s))
    return {"done": done}
"""
)
CHANGE = {"event", "kind", "position", "version", "digest", "timestamp", "data"}
JUDGED: set[str] = set()


class Replay:
    """A reader's store, kept by PROTOCOL §4 alone: full documents and patches (F9), one chain (F2), every byte proved (F10)."""

    def __init__(self, place: str | None = None, *, every: bool = False, delta: bool = False) -> None:
        self.place, self.every, self.delta = place, every, delta
        self.encoded: dict[str, bytes] = {}
        self.seen: dict[str, list[int]] = {}  #: Versions by document, in order of arrival.
        self.bodies: dict[tuple[str, int], bytes] = {}
        self.based: set[str] = set()  #: Documents that this link has shown: patches may start there.
        self.patches = self.fulls = 0
        self.codes: list[str] = []
        self._in_snapshot = False

    def take(self, frames: list[Frame], *, sse: bool = False) -> Replay:
        """Take what one link brought, from its hello on."""
        assert frames[0].value["type"] == "hello", frames[0].text[:200]
        self.based = set()
        for frame in frames[1:]:
            self.frame(frame, sse=sse)
        return self

    def frame(self, frame: Frame, *, sse: bool = False) -> None:
        value = frame.value
        if value["type"] in ("bye", "problem"):
            self.codes.append(value["code"])
            return
        assert frame.id == (None if not sse or value.get("more") else value.get("to", value.get("position")))
        is_snapshot = value["type"] == "snapshot"
        if is_snapshot:
            assert self._in_snapshot or self.place is None or order(value["position"]) >= order(self.place)
            self.based = self.based if self._in_snapshot else set()
            self._in_snapshot = value["more"]
        else:
            assert value["type"] == "transition" and not self._in_snapshot
            assert value["from"] == self.place, f"the chain is broken: {value['from']} after {self.place}"
            assert order(value["to"]) >= order(value["from"])
        names = [change.get("run_id") or change["pipeline"] for change in value["changes"]]
        assert len(names) == len(set(names))
        for (name, change), text in zip(zip(names, value["changes"], strict=True), texts_of(frame), strict=True):
            assert order(change["position"]) <= order(value.get("to", value.get("position")))
            assert is_snapshot or order(change["position"]) > order(self.place)
            self.change(name, change, text, is_snapshot=is_snapshot)
        self.place = value.get("to", value.get("position"))

    def change(self, name: str, change: dict, text: bytes | None, *, is_snapshot: bool) -> None:
        data, version = change["data"], change["version"]
        assert change.keys() == CHANGE | ({"run_id", "stage"} if change["kind"] == "run" else {"pipeline"})
        assert TIME.fullmatch(change["timestamp"])
        if text is not None:
            encoded, self.fulls = text, self.fulls + 1
        else:
            assert self.delta and not is_snapshot and name in self.based, "a patch without a base (F9)"
            before = json.loads(self.encoded[name])
            assert data["base"] == {"version": before["version"], "digest": sha(self.encoded[name])}, (
                "not the base that was sent"
            )
            assert {step["op"] for step in data["patch"]} <= {"add", "replace", "remove"}
            encoded, self.patches = rfc8785.dumps(jsonpatch.apply_patch(before, data["patch"])), self.patches + 1
        if self.delta and not is_snapshot and name in self.based and text is not None:
            self.missed_patches = getattr(self, "missed_patches", 0) + 1
        assert sha(encoded) == change["digest"], "the digest does not prove the document"
        document = json.loads(encoded)
        assert document["version"] == version
        last = self.seen.get(name, [0])[-1]
        assert version > last or (is_snapshot and version >= last), f"{name} went back from {last} to {version}"
        if self.every and last and not is_snapshot:
            assert version == last + 1, f"mode=every left out {name} {last + 1} to {version - 1}"
        if change["kind"] == "run":
            if change["digest"] not in JUDGED:  # each version once, however many readers brought it
                judge_run(encoded)
                JUDGED.add(change["digest"])
            assert data["new_state"] == document["state"]
            if is_snapshot:
                assert data["old_state"] == data["new_state"]
            elif version == last + 1 and last:
                assert data["old_state"] == json.loads(self.encoded[name])["state"]
        if version != last:
            self.seen.setdefault(name, []).append(version)
        self.encoded[name], self.bodies[name, version] = encoded, encoded
        self.based.add(name)


def texts_of(frame: Frame):
    """Yield each change's document as the bytes of the frame itself, None where it is a patch (F4)."""
    at = frame.text.index('"changes":')
    for change in frame.value["changes"]:
        at = frame.text.index('"data":', at) + 7
        end = DECODER.raw_decode(frame.text, at)[1]
        name = next((name for name in ("canonical_state", "document") if name in change["data"]), None)
        if name is None:
            yield None
        else:
            start = frame.text.index(f'"{name}":', at) + len(name) + 3
            yield frame.text[start : DECODER.raw_decode(frame.text, start)[1]].encode()
        at = end


def with_epoch(position: str, by: int) -> str:
    number, _, rest = position.partition("-")
    return f"{int(number) + by}-{rest}"


def later(position: str, steps: int) -> str:
    epoch, _, revision = position.rpartition(".")
    return f"{epoch}.{int(revision) + steps}"


def place_of(frame: Frame) -> str:
    return frame.value.get("to") or frame.value["position"]


def head_of(server) -> str:
    return get(server.http, "/api/pipelines").headers["runstate-position"]


def finish(server, bench, pipeline: str) -> str:
    run_id = server.start_run(pipeline, stages=["fetch"])["run_id"]
    bench.puppets.next(run_id=run_id).returns()
    server.wait_over(run_id)
    return run_id


def flood(server, **metadata) -> str:
    return server.start_run("busy", metadata={"size": 50, "pace_s": 0.002, "most": 100_000} | metadata)["run_id"]


def enough(bench, server, run_id: str) -> dict:
    (bench.data / "work" / run_id / "enough").touch()
    return server.wait_over(run_id)


def compare(server, run_id: str, *replays: Replay) -> None:
    """Check that what readers saw is what history proves, byte for byte."""
    proofs = {commit["version"]: commit["digest"] for commit in history_of(server.http, run_id)}
    for replay in replays:
        for (name, version), encoded in replay.bodies.items():
            if name == run_id:
                assert sha(encoded) == proofs[version]


def open_late(server, kind: str, query: str) -> tuple[threading.Thread, list[Watch]]:
    """Open a stream in a thread: it may not be answered at once."""
    opened: list[Watch] = []
    thread = threading.Thread(target=lambda: opened.append(getattr(server, kind)(query)), daemon=True)
    thread.start()
    return thread, opened


@pytest.fixture(scope="module")
def bench(shared_bench):
    return shared_bench


@pytest.fixture(scope="module")
def server(bench):
    server = bench.serve(BUSY)
    finish(server, bench, "work")
    return server


KINDS = pytest.mark.parametrize("kind", ["ws", "sse"])


# Resume


@pytest.mark.rule("F1", "F2", "F6", "F7")
@KINDS
@pytest.mark.parametrize("options", ["", "&mode=every", "&delta=1", "&mode=every&delta=1"])
def test_a_resume_without_changes_goes_straight_on(server, bench, kind, options):
    """No snapshot; what comes next begins at the resume position, in full at its first appearance."""
    place = head_of(server)
    watch = getattr(server, kind)(f"?resume={place}{options}")
    watch.wait_type("hello")
    run_id = finish(server, bench, "work")
    watch.wait(
        lambda _: (
            order(
                Replay(place, every="every" in options, delta="delta" in options)
                .take(list(watch.frames), sse=kind == "sse")
                .place
            )
            >= order(head_of(server))
        )
    )
    replay = Replay(place, every="every" in options, delta="delta" in options).take(watch.frames, sse=kind == "sse")
    assert replay.encoded[run_id] == get(server.http, f"/api/runs/{run_id}").content
    assert [f.value["type"] for f in watch.frames if f.value["type"] == "snapshot"] == []
    if "every" in options:
        assert replay.seen[run_id] == [1, 2, 3]


@pytest.mark.rule("F6", "V1")
@pytest.mark.parametrize("ends", ["kill", "terminate"])
def test_a_resume_survives_a_restart(bench, ends):
    """A restart keeps the epoch: readers of each kind resume on the new server where the old one left them, without a gap."""
    server = bench.serve(BUSY, data=bench.folder / ends, name=f"{ends}.py")
    run_id = server.start_run("work", stages=["fetch"])["run_id"]
    held = bench.puppets.next(run_id=run_id)
    modes = ["", "&mode=every", "&mode=every&delta=1", "&delta=1"]
    watches = [getattr(server, kind)(f"?topics=pipeline:work{mode}") for mode in modes for kind in ("ws", "sse")]
    for number in range(5):
        held.do(f"ctx.progress({number})")
    server.wait_run(run_id, lambda document: (document["stages"]["fetch"]["progress"] or {}).get("done") == 4)
    head = order(head_of(server))
    for watch in watches:
        watch.wait(lambda frames: len(frames) > 1 and order(place_of(frames[-1])) >= head)
    getattr(server, ends)()
    replays = []
    for number, watch in enumerate(watches):
        watch.wait_end()
        mode = modes[number // 2]
        replays.append(Replay(every="every" in mode, delta="delta" in mode).take(watch.frames, sse=bool(number % 2)))
        assert replays[-1].codes == (["drain"] if ends == "terminate" else [])
    server.restart()
    again = [
        getattr(server, ("ws", "sse")[number % 2])(f"?topics=pipeline:work{modes[number // 2]}&resume={replay.place}")
        for number, replay in enumerate(replays)
    ]
    bench.puppets.next(run_id=run_id, attempt=2).returns()
    over = server.wait_over(run_id)
    last = get(server.http, f"/api/runs/{run_id}").content
    for number, (watch, replay) in enumerate(zip(again, replays, strict=True)):
        watch.wait(lambda frames: any('"new_state":"success"' in frame.text for frame in frames))
        assert watch.frames[1].value["type"] == "transition"
        replay.take(list(watch.frames), sse=bool(number % 2))
        assert replay.encoded[run_id] == last
        if replay.every:
            # The snapshot may have come at any of the first versions; from there on none is missing.
            assert replay.seen[run_id][-1] == over["version"]
    compare(server, run_id, *replays)


@pytest.mark.rule("F6")
@KINDS
@pytest.mark.parametrize("mode", ["latest", "every"])
def test_a_resume_from_a_smaller_epoch_is_a_snapshot(server, kind, mode):
    """Whatever its revision: an in-line snapshot with reason `epoch`, then transitions that chain to it."""
    for place in (with_epoch(head_of(server), -1), with_epoch(later(head_of(server), 10_000), -100), "0-00000000.0"):
        watch = getattr(server, kind)(f"?resume={place}&mode={mode}")
        snapshot = watch.wait_type("snapshot")
        assert snapshot["reason"] == "epoch" and snapshot["more"] is False
        assert [frame.value["type"] for frame in watch.frames[:2]] == ["hello", "snapshot"]
        assert order(snapshot["position"]) >= order(head_of(server))
        Replay().take(list(watch.frames), sse=kind == "sse")
        watch.close()


@pytest.mark.rule("F6")
def test_a_backup_that_was_restored_is_a_new_epoch(server, bench):
    """A reader of the original resumes on the opened copy: reason `epoch`, a larger epoch, and its documents as they were."""
    place = head_of(server)
    copy = bench.folder / "copy"
    done = subprocess.run(
        [str(RUNSTATE), "journal", "backup", str(bench.data), str(copy)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    restored = bench.serve(BUSY, data=copy, name="restored.py")
    with restored.ws(f"?resume={place}") as watch:
        snapshot = watch.wait_type("snapshot")
    assert snapshot["reason"] == "epoch" and order(snapshot["position"])[0] > order(place)[0]
    # Where the reader comes back to the original with the copy's position, the original is behind.
    with server.ws(f"?resume={snapshot['position']}") as watch:
        assert watch.wait_type("bye")["code"] == "behind"


@pytest.mark.rule("F6", "F8")
@KINDS
@pytest.mark.parametrize("mode", ["latest", "every"])
def test_a_resume_from_a_position_that_is_not_reached_is_behind(server, kind, mode):
    """After at most 2 s: hello, `bye behind`, the end; nothing else, and never a snapshot of an older epoch."""
    head = head_of(server)
    begun = time.monotonic()
    opening = [
        open_late(server, kind, f"?mode={mode}&resume={place}")
        for place in (later(head, 10_000), with_epoch(head, 1), with_epoch(head, 10**6))
    ]
    for thread, opened in opening:
        thread.join(PATIENCE_S)
        watch = opened[0]
        watch.wait_end()
        assert [frame.value["type"] for frame in watch.frames] == ["hello", "bye"], [f.text[:200] for f in watch.frames]
        bye = watch.frames[1]
        assert bye.value["code"] == "behind" and bye.value["retry_ms"] > 0
        order(bye.value["resume"])
        if kind == "ws":
            assert watch.close_code == 1011
        else:
            assert bye.retry == str(bye.value["retry_ms"]) and bye.id is None
    assert time.monotonic() - begun < 6


@pytest.mark.rule("F6")
@KINDS
@pytest.mark.parametrize("mode", ["latest", "every"])
def test_a_position_that_is_reached_in_time_is_a_good_resume(server, bench, kind, mode):
    """The reader saw a later server; this one reaches the position within 2 s and goes straight on from it."""
    head = head_of(server)
    thread, opened = open_late(server, kind, f"?mode={mode}&resume={later(head, 2)}")
    run_id = finish(server, bench, "other")  # three commits or more
    thread.join(PATIENCE_S)
    watch = opened[0]
    watch.wait(lambda frames: any(f.value["type"] == "transition" for f in frames))
    assert watch.frames[1].value["type"] == "transition" and watch.frames[1].value["from"] == later(head, 2)
    watch.wait(lambda frames: order(frames[-1].value.get("to", head)) >= order(head_of(server)))
    replay = Replay(later(head, 2)).take(list(watch.frames), sse=kind == "sse")
    assert replay.encoded[run_id] == get(server.http, f"/api/runs/{run_id}").content


@pytest.mark.rule("F6", "F2")
@pytest.mark.parametrize("mode", ["latest", "every"])
def test_a_run_that_ended_and_was_left_meanwhile_is_resumed(server, bench, mode):
    """`run:<id>` of a run that is neither active nor current any more: its end comes, once, and the store is right."""
    first = server.start_run("work", stages=["fetch"])["run_id"]
    held = bench.puppets.next(run_id=first)
    watch = server.ws(f"?topics=run:{first}&mode={mode}")
    watch.wait_document(lambda document: document["state"] == "running_fetch")
    watch.close()
    replay = Replay(every=mode == "every").take(watch.frames)
    held.do("ctx.progress(1)")
    held.returns()
    server.wait_over(first)
    finish(server, bench, "work")
    for _ in range(2 if mode == "every" else 1):
        with server.ws(f"?topics=run:{first}&mode={mode}&resume={replay.place}") as watch:
            if replay.seen[first][-1] != server.run(first)["version"]:
                watch.wait_document(lambda document: document["state"] == "success")
            else:
                watch.wait_type("transition")  # a heartbeat: nothing of it is left to say
            replay.take(list(watch.frames))
    assert replay.encoded[first] == get(server.http, f"/api/runs/{first}").content
    with server.sse(f"?topics=run:{first}&delta=1") as fresh:
        assert (
            Replay()
            .take([fresh.frames[0]] if fresh.wait_type("snapshot") is None else list(fresh.frames), sse=True)
            .encoded[first]
            == replay.encoded[first]
        )


@pytest.mark.rule("F1", "F6")
@pytest.mark.parametrize("kind", ["ws"])
def test_a_run_that_ends_and_is_left_while_its_reader_comes_in(server, bench, kind):
    """The reader waits for a position; by then its run is over and the next one has begun: it is shown the run's end."""
    first = server.start_run("work", stages=["fetch"])["run_id"]
    held = bench.puppets.next(run_id=first)
    server.wait_state(first, "running_fetch")
    head = head_of(server)
    thread, opened = open_late(server, kind, f"?topics=run:{first}&resume={later(head, 3)}")
    same, again = open_late(server, kind, f"?topics=run:{first}&resume={with_epoch(later(head, 3), 0)}&delta=1")
    # Both have been asked by then: the handshakes of later readers were answered.
    for _ in range(3):
        server.ws("?topics=pipeline:other").close()
    place = Replay(head)
    held.returns()
    server.wait_over(first)
    second = server.start_run("work", stages=["fetch"])["run_id"]
    bench.puppets.next(run_id=second).returns()
    server.wait_over(second)
    for waiting, found in ((thread, opened), (same, again)):
        waiting.join(PATIENCE_S)
        found[0].wait(lambda frames: len(frames) >= 2)
        documents = [d for frame in found[0].frames for d in documents_of(frame.value)]
        # The end is at head + 1, before the resume position: nothing is owed, and certainly nothing older.
        assert all(document["state"] == "success" for document in documents), documents
    assert place.place == head


# Every version


@pytest.mark.rule("F8", "F9", "D2")
def test_every_version_reaches_whoever_wants_every_version(server, bench):
    """A flood of more than 200 commits a second, read live, by a sleeper, and from the beginning: each version once, in order."""
    place = head_of(server)
    awake = threading.Event()

    class Sleepy(WsWatch):
        def _take(self, frame):
            if len(self.frames) == 3:
                awake.wait(PATIENCE_S)
            super()._take(frame)

    url = server.url.replace("http", "ws") + "/api/ws"
    live = [server.sse("?mode=every&topics=pipeline:busy"), server.ws("?mode=every&delta=1")]
    sleepy = Sleepy(url + "?mode=every&topics=pipeline:busy")
    server._watches.append(sleepy)
    starts = time.monotonic()
    # The latest 16 MiB of documents are kept in memory: what a late reader needs is beyond that.
    run_id = flood(server, size=10, ballast="x" * 15_000, pace_s=0.001, most=1300)
    over = server.wait_over(run_id)
    print("commits per second:", round(over["version"] / (time.monotonic() - starts)))
    awake.set()
    late = [server.ws(f"?mode=every&resume={place}"), server.sse(f"?mode=every&delta=1&resume={place}", headers=None)]
    for watch in (*live, sleepy, *late):
        watch.wait(
            lambda frames: (
                any('"new_state":"success"' in frame.text for frame in frames[-3:])
                or any(f.value["type"] == "bye" for f in frames)
            )
        )
    for watch in (*live, *late, sleepy):
        resumed, delta = watch in late, watch in (live[1], late[1])
        replay = Replay(place if resumed else None, every=True, delta=delta).take(
            list(watch.frames), sse=isinstance(watch, SseWatch)
        )
        if watch is sleepy and replay.codes == ["slow"]:
            continue  # F8 allows it to say so
        assert replay.codes == [] and watch.problems == []
        assert replay.seen[run_id] == list(range(1, over["version"] + 1))
        if delta:
            assert replay.patches > over["version"] * (0.9 if watch not in late else 0.2), (
                replay.patches,
                replay.fulls,
            )
        compare(server, run_id, replay)


@pytest.mark.rule("F8", "F6")
def test_a_reader_of_every_version_that_is_cut_again_and_again(server, bench):
    """Cut at random in a flood and resumed from its last position, on either transport, with and without patches: no hole."""
    seed = random.randrange(1 << 30)
    print("seed", seed)
    chance = random.Random(seed)
    run_id = flood(server, size=200, pace_s=0.002)
    replay = Replay(every=True)
    resume = ""
    for number in range(8):
        delta, kind = chance.randrange(2), chance.choice(["ws", "sse"])
        with getattr(server, kind)(f"?mode=every&topics=run:{run_id}&delta={delta}{resume}") as watch:
            wanted = chance.randrange(1, 60)
            watch.wait(lambda frames, wanted=wanted: len(frames) > wanted)
        replay.delta = bool(delta)
        replay.take(watch.frames, sse=kind == "sse")
        resume = f"&resume={replay.place}"
        assert number == 0 or watch.frames[1].value["type"] == "transition"
    enough(bench, server, run_id)
    with server.ws(f"?mode=every&topics=run:{run_id}{resume}") as watch:
        watch.wait(lambda frames: any('"new_state":"success"' in frame.text for frame in frames[-1:]))
    replay.take(watch.frames)
    versions = replay.seen[run_id]
    assert versions == list(range(versions[0], versions[-1] + 1))
    compare(server, run_id, replay)


@pytest.mark.rule("F3")
def test_a_quiet_reader_of_every_version_hears_heartbeats(server, bench):
    """While others commit all the time, a reader whom no commit concerns still gets a transition within `heartbeat_ms`."""
    watches = [server.ws(f"?topics=pipeline:other&mode={mode}") for mode in ("every", "latest")]
    for watch in watches:
        watch.wait_type("snapshot")
    run_id = flood(server, size=5, pace_s=0.05)
    begun = time.monotonic()
    for watch in watches:
        watch.wait(
            lambda frames: frames[-1].value["type"] == "transition", patience_s=max(1, 7 - (time.monotonic() - begun))
        )
        assert watch.frames[-1].value["changes"] == []
    enough(bench, server, run_id)


# Patches


@pytest.mark.rule("F9", "F10")
@KINDS
def test_patches_lead_to_the_same_bytes(server, bench, kind):
    """`delta=1`: full at first, then patches from exactly the version that was sent, whatever was skipped in between."""
    run_id = flood(server, size=300, pace_s=0.001)
    watch = getattr(server, kind)("?delta=1&topics=*")
    plain = server.ws("?topics=pipeline:busy")
    other = finish(server, bench, "other")
    watch.wait(lambda frames: len(frames) > 200)
    watch2 = getattr(server, kind)(f"?delta=1&resume={watch.frames[150].value['to']}")
    watch2.wait(lambda frames: len(frames) > 50)
    over = enough(bench, server, run_id)
    for each in (watch, watch2, plain):
        each.wait(lambda frames: any('"new_state":"success"' in f.text and run_id in f.text for f in frames[-5:]))
    last = get(server.http, f"/api/runs/{run_id}").content
    replay = Replay(delta=True).take(list(watch.frames), sse=kind == "sse")
    assert replay.encoded[run_id] == last and replay.encoded[other] == get(server.http, f"/api/runs/{other}").content
    assert replay.patches > 150 and getattr(replay, "missed_patches", 0) == 0
    assert replay.encoded["busy"] == get(server.http, "/api/pipelines/busy").content
    resumed = Replay(watch.frames[150].value["to"], delta=True).take(list(watch2.frames), sse=kind == "sse")
    assert resumed.encoded[run_id] == last and resumed.patches > 30
    assert sum(len(f.text) for f in watch.frames[2:]) < sum(len(f.text) for f in plain.frames[2:]) * len(
        watch.frames
    ) / len(plain.frames)
    assert over["version"] == json.loads(last)["version"]
    compare(server, run_id, replay, resumed, Replay().take(list(plain.frames)))


@pytest.mark.rule("F1", "F9")
def test_a_later_subscribe_changes_what_is_sent_and_how(server, bench):
    """Topics, `delta`, `mode` and `resume` by message, in a flood: each begins with a full snapshot or straight after the resume."""
    start = head_of(server)
    run_id = flood(server, size=30, pace_s=0.002)
    watch = server.ws("?topics=pipeline:other")
    watch.wait_type("snapshot")
    steps = [
        {"topics": "pipeline:busy", "delta": 1}, {"delta": "1", "mode": "every"}, {"topics": f"run:{run_id}", "mode": "every"},
        {"topics": f"run:{run_id},pipeline:other", "delta": 0}, {"delta": 1, "topics": f"run:{run_id}"}, {},
    ]  # fmt: skip
    ends = [len(watch.frames)]
    for number, step in enumerate(steps, 2):
        watch.send({"type": "subscribe"} | step)
        watch.wait(lambda frames, number=number: sum(f.value["type"] == "snapshot" for f in frames) == number)
        at = max(index for index, frame in enumerate(watch.frames) if frame.value["type"] == "snapshot")
        watch.wait(lambda frames, at=at: len(frames) > at + 10)
        ends.append(at)
    assert all(frame.value["reason"] == "subscribe" for frame in watch.frames[2:] if frame.value["type"] == "snapshot")
    ends.append(len(watch.frames))
    hello = watch.frames[0]
    for step, begin, end in zip(steps, ends[1:-1], ends[2:], strict=True):
        replay = Replay(delta=str(step.get("delta")) == "1", every=step.get("mode") == "every")
        replay.take([hello, *watch.frames[begin:end]])
        assert "other" in replay.encoded or step.get("topics") in ("pipeline:busy", f"run:{run_id}")
        assert (replay.patches > 0) == replay.delta
    # A resume by message: straight the transitions after it, from the beginning of the run.
    watch.send({"type": "subscribe", "topics": f"run:{run_id}", "mode": "every", "resume": start})
    watch.wait(lambda frames: any(f.value.get("from") == start for f in frames))
    at = next(index for index, frame in enumerate(watch.frames) if frame.value.get("from") == start)
    over = enough(bench, server, run_id)
    watch.wait(lambda frames: any('"new_state":"success"' in frame.text for frame in frames[-1:]))
    replay = Replay(start, every=True).take([hello, *watch.frames[at:]])
    assert replay.seen[run_id] == list(range(1, over["version"] + 1))
    for resume, code in (("x", "bad_query"), (5, "bad_query")):
        before = len(watch.frames)
        watch.send({"type": "subscribe", "resume": resume})
        watch.wait(lambda frames, before=before: frames[-1].value["type"] == "problem" and len(frames) > before)
        assert watch.frames[-1].value["code"] == code
    watch.send({"type": "subscribe", "resume": with_epoch(start, 5)})
    assert watch.wait_type("bye")["code"] == "behind"


# Hostile readers


def connected(server, path: str, headers: str = "", *, buffer: int = 4096) -> socket.socket:
    """Return a socket that has asked for a stream and will not read it."""
    where = urlsplit(server.url)
    sock = socket.socket()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffer)
    sock.settimeout(PATIENCE_S)
    sock.connect((where.hostname, where.port))
    sock.sendall(f"GET {path} HTTP/1.1\r\nHost: localhost\r\n{headers}\r\n".encode())
    return sock


UPGRADE = "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n"


def masked(text: bytes) -> bytes:
    """Return a text frame of a client, masked with zeros."""
    size = bytes([0x80 | len(text)]) if len(text) < 126 else b"\xfe" + len(text).to_bytes(2, "big")
    return b"\x81" + size + b"\0\0\0\0" + text


@pytest.mark.rule("F8")
@pytest.mark.parametrize(
    "message", [b"x", b'{"type":"subscribe","topics":"run:' + b"x" * 30_000 + b'"}', b'{"type":"subscribe"}']
)
def test_a_reader_that_talks_and_never_listens_costs_nothing(bench, message):
    """Endless messages from a client that reads no answer: the server neither dies nor grows, and others go on."""
    server = bench.serve(BUSY, data=bench.folder / f"loud{len(message)}", name="loud.py")
    finish(server, bench, "work")
    process = psutil.Process(server.process.pid)
    with server.ws() as quiet:
        quiet.wait_type("snapshot")
        before = process.memory_info().rss
        loud = connected(server, "/api/ws", UPGRADE)
        text = memoryview(masked(message) * max(1, 400_000 // len(message)))
        sent, begun = 0, time.monotonic()
        loud.settimeout(0.2)
        while sent < 100_000_000 and time.monotonic() - begun < 3:
            try:
                sent += loud.send(text[sent % len(text) :])
            except TimeoutError:
                continue
            except OSError:
                break  # it is not listened to any more: as good as any other end
        print("sent", sent, "RSS", process.memory_info().rss - before)
        assert process.is_running() and process.status() != psutil.STATUS_ZOMBIE, server.err.lines[-20:]
        assert process.memory_info().rss < before + 24_000_000
        loud.close()
        run_id = finish(server, bench, "work")
        quiet.wait_document(lambda document: document.get("run_id") == run_id and document["state"] == "success")
    assert server.process.poll() is None
    assert server.http.get("/health").status_code == 200


@pytest.mark.rule("F8")
@pytest.mark.timeout(240)
def test_two_hundred_readers_that_never_read(bench):
    """The writer's pace, a fast reader and the memory do not feel them; after 15 s they are let go; coming back works."""
    server = bench.serve(BUSY, data=bench.folder / "stalled", name="stalled.py")
    process = psutil.Process(server.process.pid)
    fast = server.ws("?topics=pipeline:busy&delta=1")

    def pace(seconds: float) -> tuple[float, float]:
        """Return commits per second, and how late the fast reader saw the middle one of them in ms."""
        begun, first = time.monotonic(), len(fast.frames)
        version = server.run(run_id)["version"]
        late = []
        while time.monotonic() - begun < seconds:
            number = len(fast.frames)
            fast.wait(lambda frames, number=number: len(frames) > number)
            late.append(
                time.time() * 1000 - stamp(fast.frames[-1].value["changes"][-1]["timestamp"])
                if fast.frames[-1].value["changes"]
                else 0
            )
        assert len(fast.frames) > first
        return (server.run(run_id)["version"] - version) / (time.monotonic() - begun), statistics.median(late)

    run_id = flood(server, size=2000, pace_s=0.02, hurry_s=0.001)
    # What the server remembers of the latest commits is bounded, and full from here on: it is nobody's memory.
    fast.wait(lambda frames: order(frames[-1].value.get("to", "0-00000000.0"))[1] > 3800)
    work = bench.folder / "stalled" / "work" / run_id
    (work / "slow").touch()
    alone, alone_ms = pace(1.5)
    # Warm up what is made once, so that what follows is the readers' own.
    for sock in [connected(server, "/api/stream") for _ in range(5)]:
        sock.close()
    files, before = process.num_fds(), process.memory_info().rss
    queries = ["/api/stream", "/api/ws", "/api/stream?delta=1", "/api/ws?mode=every", "/api/ws?delta=1"]
    stalled = [
        connected(server, path, UPGRADE if "/ws" in path else "") for path in (queries[n % 5] for n in range(200))
    ]
    joined = time.monotonic()
    # The kernel's own buffers fill first, which is work; then the server waits for nobody longer than 15 s. That nobody
    # feels them shows in some second of that time; the others are those of a machine that has other things to do.
    paces = [pace(1) for _ in range(4)]
    grown = process.memory_info().rss - before
    while process.num_fds() > files + 180 and time.monotonic() - joined < 60:
        paces.append(pace(1))
    crowded, crowded_ms = max(rate for rate, _ in paces), min(late for _, late in paces)
    print(
        f"commits/s {alone:.0f} → {crowded:.0f}; median ms {alone_ms:.0f} → {crowded_ms:.0f}; per reader {grown / 200 / 1024:.1f} KiB"
    )
    while process.num_fds() > files + 20 and time.monotonic() - joined < 60:
        pace(0.5)
    print(
        f"open after {time.monotonic() - joined:.0f} s: {process.num_fds() - files}; per reader {(process.memory_info().rss - before) / 200 / 1024:.1f} KiB"
    )
    left = process.num_fds() - files
    (work / "enough").touch()
    last = server.wait_over(run_id)
    fast.wait(lambda frames: any('"new_state":"success"' in frame.text for frame in frames[-3:]))
    with server.sse("?topics=pipeline:busy") as again:
        assert again.wait_document(lambda document: document.get("run_id") == run_id) == last
    for sock in stalled:
        sock.close()
    assert crowded > alone * 0.6, (alone, crowded)
    assert crowded_ms < alone_ms + 100
    assert grown / 200 < 64 * 1024, f"{grown / 200 / 1024:.0f} KiB per stalled reader"
    assert left <= 20, f"{left} of 200 readers that read nothing are still connected"


def stamp(text: str) -> float:
    return datetime.fromisoformat(text).timestamp() * 1000
