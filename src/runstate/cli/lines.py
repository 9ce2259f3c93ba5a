"""What changed, in words: from two versions of a run's document, or from a patch, to lines of text. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from runstate.cli.words import amount, duration, elapsed_ms, one_line, when
from runstate.core.canonical import Json, encode

_PLAIN = {
    "version",
    "updated_at",
    "epoch",
    "heartbeat_at",
    "started_at",
    "ended_at",
    "status",
    "state",
    "current_stage",
}


def news(old: Mapping[str, Json] | None, new: Mapping[str, Json], *, now_ms: int) -> Iterator[str]:
    """Yield one line per change of state between two versions of a run; `old` None: it is seen for the first time.

    Versions in between may have been skipped; what they did is told by where they led. The end of the run is told by
    `outcome`.
    """
    run = f"run {new['run_id']} of {new['pipeline']}"
    if old is None:
        yield f"{run}: {new['state']}"
    asked = new["stop_requested"]
    if asked is not None and (old is None or old["stop_requested"] is None):
        by = f" by {asked['by']}" if asked["by"] else ""
        yield f"{run}: stop requested{by}{': ' + one_line(asked['reason']) if asked['reason'] else ''}"
    for name in new["stage_order"]:
        record = new["stages"][name]
        before = old["stages"].get(name) if old else None
        seen = (before["state"], before["attempt"]) if before else ("pending", 0)
        if seen != (record["state"], record["attempt"]):
            yield f"{name}: {stage_words(record, now_ms=now_ms)}"


def outcome(document: Mapping[str, Json], *, now_ms: int) -> str:
    """Return how a run ended, in one line."""
    spent = elapsed_ms(document, now_ms=now_ms)
    took = "" if spent is None else f" after {duration(spent)}"
    why = f": {one_line(document['error'])}" if document["error"] else ""
    return f"run {document['run_id']} of {document['pipeline']}: {document['state']}{took}{why}"


def owner_lines(document: Mapping[str, Json], *, now_ms: int) -> list[str]:
    """Return what a pipeline's document says of health and schedule, a line each."""
    return [f"{document['pipeline']}: {health_words(document)}", f"schedule: {schedule_words(document, now_ms=now_ms)}"]


def owner_news(old: Mapping[str, Json] | None, new: Mapping[str, Json], *, now_ms: int) -> Iterator[str]:
    """Yield a line for what a pipeline's health and schedule say now and did not say before.

    That a schedule has started a run is told by the run. `old` None: it is seen for the first time.
    """
    name = new["pipeline"]
    if new["health"] != old["health"] if old else new["health"]["reasons"]:
        yield f"health of {name}: {health_words(new)}"
    was, schedule = old["schedule"] if old else None, new["schedule"]
    has_begun = was is not None and schedule is not None and was["last_run_id"] != schedule["last_run_id"]
    if schedule != was and not has_begun:
        yield f"schedule of {name}: {schedule_words(new, now_ms=now_ms)}"


def health_words(document: Mapping[str, Json]) -> str:
    """Return a pipeline's health with its reasons."""
    reasons = "; ".join(one_line(reason) for reason in document["health"]["reasons"])
    return f"{document['health']['state']}{' (' + reasons + ')' if reasons else ''}"


def schedule_words(document: Mapping[str, Json], *, now_ms: int) -> str:
    """Return when a pipeline runs by itself, and why it did not."""
    schedule = document["schedule"]
    if schedule is None:
        return "none"
    words = [f"{schedule['cron']} {schedule['tz']}"]
    words.append(f"next {when(schedule['next_run_at'], now_ms=now_ms)}" if schedule["next_run_at"] else "disabled")
    if schedule["queued_at"]:
        words.append(f"one queued since {when(schedule['queued_at'], now_ms=now_ms)}")
    if schedule["last_skip_reason"] not in (None, "disabled"):
        words.append(f"last skipped: {schedule['last_skip_reason']}")
    return ", ".join(words)


def stage_words(record: Mapping[str, Json], *, now_ms: int) -> str:
    """Return what a stage is doing or has done."""
    state, attempt = record["state"], record["attempt"]
    nth = f", attempt {attempt}" if attempt > 1 else ""
    if state == "pending":
        return "pending"
    if state == "running":
        return f"running{nth}"
    why = f": {one_line(record['error'])}" if record["error"] else ""
    if state == "retrying":
        return f"retrying, attempt {attempt} ended{why}"
    spent = elapsed_ms(record, now_ms=now_ms)
    took = "" if spent is None else f" after {duration(spent)}"
    far = f" ({amount(record['progress'])})" if record["progress"] else ""
    return f"{state}{nth}{took}{far}{why}"


def patch_words(patch: Sequence[Mapping[str, Any]] | None, limit: int = 200) -> str:
    """Return what a patch of a run changed, in short; what every version changes is left out."""
    if patch is None:
        return "the run begins"
    parts: list[str] = []
    progress: dict[str, dict[str, Json]] = {}
    for operation in patch:
        path = [token.replace("~1", "/").replace("~0", "~") for token in operation["path"].split("/")[1:]]
        value = operation.get("value")
        match path:
            case ["stages", stage, "progress"]:
                progress[stage] = value if isinstance(value, dict) else {}
            case ["stages", stage, "progress", member]:
                progress.setdefault(stage, {})[member] = value
            case ["stages", stage, "state"]:
                parts.append(f"{stage} {value}")
            case ["stages", stage, "attempt"]:
                parts.append(f"{stage} attempt {value}")
            case ["stages", stage, "outputs", *rest]:
                parts.append(_said(f"{stage} outputs", rest, value))
            case ["stages", _, "error_code"] | ["error"] | ["error_code"]:
                continue
            case ["stages", stage, "error"]:
                parts += [f"{stage}: {one_line(value)}"] if value else []
            case ["stop_requested"]:
                parts.append("stop requested" if value else "stop request cleared")
            case _ if operation["op"] == "remove":
                parts.append(f"{'.'.join(path)} removed")
            case ["metadata", *rest]:
                parts.append(_said("metadata", rest, value))
            case [*_, last] if last in _PLAIN:
                continue
            case _:
                parts.append(_said(path[0], path[1:], value))
    return one_line(", ".join(parts + [_progress(stage, members) for stage, members in progress.items()]), limit)


def _progress(stage: str, members: Mapping[str, Json]) -> str:
    far = {"total": None, "unit": None, "message": None} | dict(members)
    said = amount(far) if "done" in far else ""
    return " ".join(part for part in (stage, said, one_line(far["message"], 60)) if part)


def _said(what: str, path: Sequence[str], value: Json) -> str:
    name = ".".join([what.replace(" ", "."), *path]) if path else what
    if isinstance(value, dict):
        return f"{name} {', '.join(value) or '{}'}"
    return f"{name} = {one_line(encode(value).decode(), 60)}"
