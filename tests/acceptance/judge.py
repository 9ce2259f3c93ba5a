"""What must hold of every document, version and stream, told by PROTOCOL.md alone: nothing of runstate is imported here.

Longer than other files: its cases are one list.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections.abc import Iterable, Mapping

import httpx
import jsonpatch
import rfc8785

from tests.acceptance.watching import Frame

DECODER = json.JSONDecoder()
TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z")
POSITION = re.compile(r"(\d+)-[0-9a-f]{8}\.(\d+)")
RUN_KEYS = {
    "schema", "epoch", "pipeline", "run_id", "version", "state", "status", "current_stage", "started_at", "updated_at",
    "ended_at", "retry_count", "error", "error_code", "metadata", "trigger", "stop_requested", "stage_order", "stages",
}  # fmt: skip
STAGE_KEYS = {
    "state",
    "attempt",
    "started_at",
    "ended_at",
    "heartbeat_at",
    "progress",
    "error",
    "error_code",
    "outputs",
}
SCHEDULE_KEYS = {
    "cron", "tz", "enabled", "missed", "overlap", "queued_at", "next_run_at", "last_run_id", "last_skip_reason",
}  # fmt: skip
PIPELINE_KEYS = {
    "schema", "epoch", "pipeline", "version", "updated_at", "stage_order", "current_run_id", "schedule", "health",
}  # fmt: skip
STAGE_STATES = {"pending", "running", "retrying", "success", "failed", "stopped", "skipped"}
STATUS = {"idle": "idle", "success": "idle", "stopped": "stopped", "failed": "error"} | dict.fromkeys(
    ("scheduled", "starting", "retrying"), "running"
)
WITH_ERROR = ("retrying", "failed", "stopped")
MAX_DOCUMENT, MAX_OUTPUTS, MAX_ERROR = 256 * 1024, 64 * 1024, 8 * 1024


def sha(body: bytes) -> str:
    return "sha-256:" + hashlib.sha256(body).hexdigest()


def order(position: str) -> tuple[int, int]:
    found = POSITION.fullmatch(position)
    assert found, f"{position!r} is no position (V4)"
    return int(found[1]), int(found[2])


def status_of(state: str) -> str:
    return "running" if state.startswith("running_") else STATUS[state]


def is_legal(old: dict, new: dict) -> bool:
    """Return whether D2 lets a run go from the one document to the other, written down from D2 once more."""
    plan, was, now = new["stage_order"], old["state"], new["state"]
    if was == now:
        return True
    running = [f"running_{stage}" for stage in plan]
    allowed: dict[str, set[str]] = {
        "idle": {"scheduled", "starting"},
        "scheduled": {"starting", "idle"},
        "starting": {running[0], "failed", "stopped"},
        "retrying": {f"running_{old['current_stage']}", "failed", "stopped"},
        "failed": {"retrying"},
        "stopped": {"retrying"},
        "success": set(),
    }
    for state, following in zip(running, [*running[1:], "success"], strict=True):
        allowed[state] = {following, "retrying", "failed", "stopped"}
    return now in allowed[was]


def judge_run(encoded: bytes) -> dict:
    """Check one version of one run by itself (D1, D3, D4, §2); return it."""
    document = json.loads(encoded)
    assert rfc8785.dumps(document) == encoded, "not canonical JSON"
    assert len(encoded) <= MAX_DOCUMENT
    assert document.keys() == RUN_KEYS and document["schema"] == 1
    state, stages = document["state"], document["stages"]
    assert document["status"] == status_of(state), document["state"]
    assert set(stages) == set(document["stage_order"]) and len(stages) == len(document["stage_order"])
    for name in ("started_at", "updated_at", "ended_at"):
        assert document[name] is None or TIME.fullmatch(document[name]), (name, document[name])
    assert document["updated_at"] is not None
    assert document["started_at"] is not None or state in ("scheduled", "idle"), "it has begun, so it says when"
    assert (document["ended_at"] is not None) == (state in ("success", "failed", "stopped")), state
    assert (document["error"] is None) == (state not in WITH_ERROR), (state, document["error"])
    assert (document["error_code"] is None) == (document["error"] is None)
    assert len((document["error"] or "").encode()) <= MAX_ERROR
    assert document["retry_count"] == sum(max(0, stage["attempt"] - 1) for stage in stages.values())
    assert document["trigger"].keys() == {"kind", "by"} and document["trigger"]["kind"] in (
        "manual",
        "schedule",
        "external",
    )
    stop = document["stop_requested"]
    assert stop is None or (stop.keys() == {"at", "by", "reason"} and TIME.fullmatch(stop["at"]))
    for name, stage in stages.items():
        judge_stage(name, stage, document)
    return document


def judge_stage(name: str, stage: dict, run: dict) -> None:
    assert stage.keys() == STAGE_KEYS and stage["state"] in STAGE_STATES
    current = name == run["current_stage"]
    assert (stage["state"] == "running") == (run["state"] == f"running_{name}"), (name, stage["state"], run["state"])
    assert (stage["state"] == "retrying") == (run["state"] == "retrying" and current)
    assert (stage["state"] == "pending") == (stage["attempt"] == 0), (name, stage)
    if run["state"] == "success":
        assert stage["state"] in ("success", "skipped")
    if stage["state"] in ("running", "success", "skipped", "pending"):
        assert stage["error"] is None and stage["error_code"] is None
    else:
        assert stage["error"] and stage["error_code"]
    if stage["state"] in ("failed", "stopped"):
        assert (run["error"], run["error_code"]) == (stage["error"], stage["error_code"])
    assert len((stage["error"] or "").encode()) <= MAX_ERROR
    assert len(rfc8785.dumps(stage["outputs"])) <= MAX_OUTPUTS
    if stage["progress"] is not None:
        assert stage["progress"].keys() == {"done", "total", "unit", "message"}


def judge_step(old: dict | None, new: dict) -> None:
    """Check one version against the one before it."""
    if old is None:
        assert new["version"] == 1 and new["state"] in ("starting", "scheduled")
        return
    assert new["version"] == old["version"] + 1
    assert is_legal(old, new), f"{old['state']} → {new['state']}"
    assert new["updated_at"] >= old["updated_at"] or order(f"{new['epoch']}.0") >= order(f"{old['epoch']}.0")
    for name in ("pipeline", "run_id", "stage_order", "started_at", "trigger", "schema"):
        begins = name == "started_at" and old["state"] == "scheduled"
        assert new[name] == old[name] or begins, name
    for name, stage in new["stages"].items():
        before = old["stages"][name]
        assert stage["attempt"] >= before["attempt"], f"attempts of {name} restarted (D4)"
        assert stage["attempt"] <= before["attempt"] + 1
        if stage["attempt"] > before["attempt"]:
            assert stage["state"] == "running"
        if before["state"] in ("success", "skipped"):
            assert stage == before, f"{name} was over and changed"
    if old["state"] in ("failed", "stopped"):
        assert new["stop_requested"] is None, "a retry forgets the stop (C5)"
    elif old["stop_requested"] is not None:
        assert new["stop_requested"] == old["stop_requested"]
        assert new["state"] in (old["state"], "stopped"), "a run that shall stop goes on (D10)"


def judge_answer(answer: httpx.Response) -> dict:
    """Check the headers of H2 against the body; return the document."""
    document = json.loads(answer.content)
    digest = base64.b64encode(hashlib.sha256(answer.content).digest()).decode()
    assert answer.headers["repr-digest"] == f"sha-256=:{digest}:"
    assert answer.headers["content-type"] == "application/json"
    assert "content-encoding" not in answer.headers
    tag = answer.headers["etag"]
    assert tag.startswith('"') and tag.endswith('"')
    epoch, _, _ = tag.strip('"').rpartition(".")
    assert epoch == document["epoch"] or document["version"] == 0
    assert order(tag.strip('"')) <= order(answer.headers["runstate-position"])
    assert rfc8785.dumps(document) == answer.content
    return document


def history_of(http: httpx.Client, run_id: str) -> list[dict]:
    """Return all commits of a run, page by page."""
    commits: list[dict] = []
    while True:
        page = get(http, f"/api/runs/{run_id}/history?after={len(commits)}&limit=1000").json()
        assert page.keys() == {"floor", "head", "commits"}
        assert page["floor"] == 1 or page["floor"] == 0, "nothing is compacted in these tests"
        commits += page["commits"]
        if len(commits) >= page["head"] or not page["commits"]:
            return commits


def get(http: httpx.Client, path: str) -> httpx.Response:
    answer = http.get(path)
    assert answer.status_code == 200, (path, answer.text)
    return answer


def judge_history(http: httpx.Client, run_id: str, every: int = 1) -> dict[int, bytes]:
    """Check every version and commit of a run (H5, H6, D2); return the bytes by version.

    Args:
        every: Compare each n-th version with `/versions/{v}`; the patches are replayed for all.
    """
    bodies: dict[int, bytes] = {}
    document: dict | None = None
    last = (0, 0)
    for number, commit in enumerate(history_of(http, run_id), 1):
        assert commit.keys() == {"version", "position", "at", "cause", "old_state", "new_state", "digest", "patch"}
        assert commit["version"] == number, "a hole in the versions (V3)"
        if number == 1:
            assert commit["patch"] is None and commit["old_state"] == "idle"
            encoded = get(http, f"/api/runs/{run_id}/versions/1").content
        else:
            encoded = rfc8785.dumps(jsonpatch.apply_patch(document, commit["patch"]))
        assert sha(encoded) == commit["digest"], f"the patch to version {number} leads elsewhere"
        new = judge_run(encoded)
        judge_step(document, new)
        assert commit["old_state"] == ("idle" if document is None else document["state"])
        assert commit["new_state"] == new["state"]
        assert order(commit["position"]) > last, "positions go back (V4)"
        assert commit["position"].rpartition(".")[0] == new["epoch"]
        assert TIME.fullmatch(commit["at"]) and isinstance(commit["cause"]["event"], str)
        if number % every == 0:
            answer = get(http, f"/api/runs/{run_id}/versions/{number}")
            assert answer.content == encoded
            judge_answer(answer)
            assert answer.headers["etag"] == f'"{commit["position"]}"'
            assert answer.headers["cache-control"] == "private, max-age=31536000, immutable"
        document, bodies[number], last = new, encoded, order(commit["position"])
    head = get(http, f"/api/runs/{run_id}")
    assert judge_answer(head)["version"] >= len(bodies)
    return bodies


def judge_store(http: httpx.Client) -> None:
    """Check all runs and pipelines of a server, and that no revision is missing (V2)."""
    pipelines = get(http, "/api/pipelines").json()
    for pipeline in pipelines["pipelines"]:
        assert pipeline.keys() == PIPELINE_KEYS and pipeline["schema"] == 1
        assert pipeline["schedule"] is None or pipeline["schedule"].keys() == SCHEDULE_KEYS
        assert pipeline["health"].keys() == {"state", "reasons"}
        assert pipeline["health"]["state"] == "healthy" or pipeline["health"]["reasons"]
        answer = get(http, f"/api/pipelines/{pipeline['pipeline']}")
        judge_answer(answer)
    touched: set[int] = set()
    runs = get(http, "/api/runs?limit=1000").json()["runs"]
    for run in runs:
        judge_history(http, run["run_id"], every=max(1, run["version"] // 20))
        touched |= {order(commit["position"])[1] for commit in history_of(http, run["run_id"])}
    active = [run["pipeline"] for run in runs if run["status"] == "running"]
    assert len(active) == len(set(active)), "two active runs of one pipeline (C4)"
    if runs and not active:
        # The first revisions define pipelines; from the first run on each commit touches one.
        missing = set(range(min(touched), max(touched))) - touched
        assert len(missing) <= 8, f"revisions that no document shows: {sorted(missing)[:9]}"


def changes_of(frame: Frame) -> Iterable[tuple[dict, bytes]]:
    """Yield each change of a frame with the document's bytes cut out of the frame's own text (F4)."""
    at = frame.text.index('"changes":')
    for change in frame.value["changes"]:
        name = "canonical_state" if change["kind"] == "run" else "document"
        start = frame.text.index(f'"{name}":', at) + len(name) + 3
        _, at = DECODER.raw_decode(frame.text, start)
        yield change, frame.text[start:at].encode()


def judge_change(change: Mapping, encoded: bytes) -> dict:
    """Check one full change; return its document."""
    document = json.loads(encoded)
    assert change["digest"] == sha(encoded)
    assert change["version"] == document["version"]
    assert change["position"].rpartition(".")[0] == document["epoch"]
    assert TIME.fullmatch(change["timestamp"])
    if change["kind"] == "run":
        assert change.keys() == {
            "event", "kind", "run_id", "stage", "position", "version", "digest", "timestamp", "data",
        }  # fmt: skip
        assert (change["event"], change["stage"], change["run_id"]) == ("state_change", "pipeline", document["run_id"])
        assert change["data"].keys() == {"old_state", "new_state", "canonical_state"}
        assert change["data"]["new_state"] == document["state"]
        judge_run(encoded)
    else:
        assert (change["event"], change["pipeline"]) == ("pipeline_change", document["pipeline"])
        assert document.keys() == PIPELINE_KEYS
        assert rfc8785.dumps(document) == encoded
    return document


def judge_stream(frames: list[Frame], *, sse: bool = False) -> dict[tuple[str, int], bytes]:
    """Check a stream from hello to its last frame (F1–F5, F7); return run bytes by id and version."""
    if not frames:
        return {}  # the server died before it said a word
    assert frames[0].value["type"] == "hello"
    hello = frames[0].value
    assert (
        hello.keys() == {"type", "protocol", "server", "epoch", "position", "heartbeat_ms"} and hello["protocol"] == 1
    )
    seen: dict[tuple[str, int], bytes] = {}
    latest: dict[str, int] = {}
    place: str | None = None
    in_snapshot = False
    for frame in frames[1:]:
        value = frame.value
        assert frame.id == (
            None
            if value["type"] in ("bye", "problem") or not sse or value.get("more")
            else value.get("to", value.get("position"))
        )
        if value["type"] == "snapshot":
            if not in_snapshot and place is not None:
                assert value["reason"] == "subscribe" and order(value["position"]) >= order(place)
            in_snapshot = value["more"]
            place = value["position"]
        elif value["type"] == "transition":
            assert not in_snapshot, "a transition between the parts of a snapshot"
            assert value["from"] == place, "the chain is broken (F2)"
            assert order(value["to"]) >= order(value["from"])
            assert value["to"] != value["from"] or not value["changes"]
            assert isinstance(value["source_age_ms"], int) and value["source_age_ms"] >= 0
            assert TIME.fullmatch(value["server_time"])
            place = value["to"]
        else:
            assert value["type"] in ("bye", "problem"), value
            continue
        keys = []
        for change, encoded in changes_of(frame):
            document = judge_change(change, encoded)
            key = change.get("run_id") or change["pipeline"]
            keys.append(key)
            assert order(change["position"]) <= order(place)
            if value["type"] == "transition":
                assert order(change["position"]) > order(value["from"]), "an old change in a new transition"
                assert change["version"] > latest.get(key, 0), f"{key} went back"
            elif change["kind"] == "run":
                assert change["data"]["old_state"] == change["data"]["new_state"]
            latest[key] = max(latest.get(key, 0), change["version"])
            if change["kind"] == "run":
                assert seen.setdefault((document["run_id"], document["version"]), encoded) == encoded
        assert len(keys) == len(set(keys)), "one document twice in one frame"
    return seen
