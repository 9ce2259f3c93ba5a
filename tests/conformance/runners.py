"""How Python runs each folder of conformance/: from a case's `input` to what must equal its `expect`."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Callable
from typing import Any

from runstate.client.frames import parse_frame
from runstate.core import link as links
from runstate.core import machine, poll, sse
from runstate.core.backoff import delay_ms
from runstate.core.canonical import decode, digest, encode
from runstate.core.errors import InvalidValue, PeerError, TransitionRejected
from runstate.core.patch import apply, diff
from runstate.core.replica import Delta, Frame, Hello, Left, Replica, Snapshot, Transition, Trouble, begin, receive
from runstate.core.retry import retry_in_ms

Json = Any


def run_canonical(given: Json) -> Json:
    try:
        encoded = encode(decode(given["json"]))
    except InvalidValue:
        return {"refused": True}
    return {"canonical": encoded.decode(), "digest": digest(encoded)}


def run_machine(given: Json) -> Json:
    if "state" in given:
        try:
            return {"status": machine.status_of(given["state"])}
        except InvalidValue:
            return {"refused": True}
    plan = given["plan"]
    words = [
        "idle",
        "scheduled",
        "starting",
        *(f"running_{stage}" for stage in plan),
        "retrying",
        "success",
        "failed",
        "stopped",
    ]
    return {
        "moves": {
            f"{old}@{stage}" if stage else old: [new for new in words if _may_move(plan, old, stage, new)]
            for old in words
            for stage in (plan if old == "retrying" else [None])
        }
    }


def _may_move(plan: list[str], old: str, stage: str | None, new: str) -> bool:
    before = _state(old, stage)
    # `retrying` names no stage on the wire: it is that of the running stage, or any that did not finish.
    after = _state(new, (before.stage or plan[0]) if new == "retrying" else None)
    try:
        machine.check_move(plan, before, after)
    except TransitionRejected:
        return False
    return True


def _state(word: str, stage: str | None) -> machine.State:
    phase = machine.phase_of(word)
    return machine.State(phase, word.removeprefix("running_") if phase is machine.Phase.RUNNING else stage)


def run_patch(given: Json) -> Json:
    try:
        if "new" in given:
            return {"patch": diff(given["old"], given["new"])}
        return {"document": apply(given["document"], given["patch"])}
    except PeerError:
        return {"refused": True}


def run_replica(given: Json) -> Json:
    replica = Replica(topics=tuple(given.get("topics", ["*"])))
    outcomes = []
    for item in given["frames"]:
        if item in ("connect", "reconnect"):
            replica = begin(replica, resume=item == "reconnect" and replica.resume is not None)
            continue
        replica, outcome = receive(replica, parse_frame(_text(item)))
        outcomes.append(str(outcome))
    return {
        "outcomes": outcomes,
        "position": _text_or_none(replica.position),
        "resume": _text_or_none(replica.resume),
        "shows": {
            f"{key.kind}:{key.id}": {
                "canonical": entry.encoded.decode(),
                "version": entry.version,
                "position": str(entry.position),
                "digest": entry.digest,
                "verified": entry.verified,
                "old_state": entry.old_state,
            }
            for key, entry in replica.entries.items()
        },
    }


def run_link(given: Json) -> Json:
    replica = Replica(topics=tuple(given.get("topics", ["*"])))
    link = links.Link(transports=tuple(given["transports"]), replica=replica, delta=given.get("delta", False))
    steps = []
    for item in given["timeline"]:
        link, actions = links.step(
            link, _event(item, link.generation), now_ms=item["at"], random=item.get("random", 0.5)
        )
        steps.append(
            {
                "actions": [_action(action) for action in actions],
                "state": link.state,
                "since": link.since,
                "wake": links.wake_at(link),
            }
        )
    return {"steps": steps}


def _event(item: Json, generation: int) -> links.Event:
    generation = item.get("generation", generation)
    retry_ms = item.get("retry_ms", 0)
    match item["event"]:
        case "start":
            return links.Start()
        case "frame":
            return links.Received(generation, parse_frame(_text(item["frame"])), retry_ms)
        case "drop":
            trouble = item.get("problem")
            told = None if trouble is None else Trouble(trouble["code"], trouble["status"], trouble["detail"])
            return links.Dropped(generation, told, retry_ms)
        case "tick":
            return links.Tick()
        case "retry":
            return links.Retry()
        case "stop":
            return links.Stop()
    raise AssertionError(item)


def _action(action: links.Action) -> Json:
    match action:
        case links.Connect(generation, transport, resume, delta):
            return {"do": "connect", "generation": generation, "transport": transport, "resume": resume, "delta": delta}
        case links.Resync(generation, delta):
            return {"do": "resync", "generation": generation, "delta": delta}
        case links.Disconnect(generation):
            return {"do": "disconnect", "generation": generation}


def run_sse(given: Json) -> Json:
    if "event" in given:
        event = given["event"]
        encoded = sse.encode(event["data"].encode(), id=event["id"], retry_ms=event["retry_ms"])
        return {"stream": encoded.decode()}
    stream = given["stream"].encode()
    expected = None
    for size in (*range(1, 8), len(stream) or 1):  # every case must come out the same wherever the network cuts
        decoder, events = sse.SseDecoder(), []
        for start in range(0, len(stream), size):
            decoder, ended = decoder.feed(stream[start : start + size])
            events += [{"data": event.data, "id": event.id} for event in ended]
        found = {"events": events, "last_id": decoder.last_id, "retry_ms": decoder.retry_ms}
        assert expected is None or found == expected, f"cut into {size} bytes it reads otherwise"
        expected = found
    return expected


def run_poll(given: Json) -> Json:
    state, rounds = poll.Poll(tuple(given["topics"])), []
    for item in given["rounds"]:
        asked = poll.round_of(state)
        answers = {ask.path: _answer(item["answers"]["/".join(ask.path)]) for ask in asked.asks}
        state, frames = poll.take(state, answers, elapsed_ms=item.get("elapsed_ms", 0))
        rounds.append(
            {
                "asks": [
                    {
                        "path": "/".join(ask.path),
                        "after": _text_or_none(ask.after),
                        "min": _text_or_none(ask.least),
                        "wait": ask.wait_s,
                    }
                    for ask in asked.asks
                ],
                "pause_ms": asked.pause_ms,
                "frames": [_frame(frame) for frame in frames],
                "ended": state.has_ended,
            }
        )
    return {"rounds": rounds}


def _answer(item: Json) -> poll.Answer:
    body = None if "document" not in item else _text(item["document"]).encode()
    proof = f"sha-256=:{base64.b64encode(hashlib.sha256(body or b'').digest()).decode()}:"
    return poll.Answer(body, item.get("tag"), item.get("proof", proof), item.get("head"))


def _frame(frame: Frame) -> Json:
    match frame:
        case Hello(_, epoch, _):
            return {"hello": epoch}
        case Snapshot(position, _, changes):
            return {"snapshot": str(position), "changes": [_change(change) for change in changes]}
        case Transition(start, end, source_age_ms, changes):
            assert source_age_ms is None, "plain answers do not tell"
            return {"from": str(start), "to": str(end), "changes": [_change(change) for change in changes]}
        case _:
            return "unreadable"


def _change(change: Json) -> Json:
    name = f"{change.key.kind}:{change.key.id}"
    if isinstance(change, Left):
        return {"gone": name}
    assert not isinstance(change, Delta), "plain answers carry whole documents"
    named = {"version": change.version, "position": str(change.position), "digest": change.digest}
    return {"full": name, **named, "old_state": change.old_state, "canonical": change.encoded.decode()}


def run_retry(given: Json) -> Json:
    status, after_ms, random = given["status"], given["retry_after_ms"], given["random"]
    return {"wait_ms": retry_in_ms(given["retries"], status=status, retry_after_ms=after_ms, random=random)}


def run_backoff(given: Json) -> Json:
    return {"delay_ms": delay_ms(given["failures"], given["random"])}


def _text(frame: Json) -> str:
    # Canonical, so that a document inside has its canonical bytes; a text is sent as it is.
    return frame if isinstance(frame, str) else encode(frame).decode()


def _text_or_none(value: object) -> str | None:
    return None if value is None else str(value)


RUNNERS: dict[str, Callable[[Json], Json]] = {
    "backoff": run_backoff,
    "canonical": run_canonical,
    "link": run_link,
    "machine": run_machine,
    "patch": run_patch,
    "poll": run_poll,
    "replica": run_replica,
    "retry": run_retry,
    "sse": run_sse,
}
