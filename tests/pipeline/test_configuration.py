"""A `runstate.toml` says what Python says; each mistake is one sentence that begins with file and line."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from runstate.core.errors import DefinitionError
from runstate.pipeline.configuration import read_configuration
from runstate.pipeline.stage import Command
from runstate.pipeline.webhook import WebhookConfig
from runstate.state.retention import Keep

WHOLE = """\
[pipeline.nightly]
progress_interval_s = 0.5
run_policy = "gated"
timeout_s = 7200
schedule = { cron = "0 7 * * 1-5", tz = "America/Chicago", missed = "run_once", overlap = "queue", enabled = false }

[[pipeline.nightly.stage]]
name = "translator"
command = "python translate.py --out {workdir}"
retries = 2
retry_on = ["exit_status", "timeout"]
backoff_s = 3
backoff_max_s = 60
timeout_s = 3600
grace_s = 5
on_interrupt = "fail"
env = { LANG = "C.UTF-8" }
cwd = "scripts"

[[pipeline.nightly.stage]]
name = "merger"
command = "true"

[pipeline.other]
[[pipeline.other.stage]]
name = "only"
command = "true"
[pipeline.other.stage.env]
A = "1"

[store]
keep_days = 30
keep_versions = 10000

[[webhook]]
url = "https://ops.example/hook"
on = ["failed", "success"]
secret_env = "HOOK_SECRET"
"""


def read(folder: Path, text: str):
    (folder / "runstate.toml").write_bytes(text.encode())
    return read_configuration(folder / "runstate.toml")


def test_a_whole_file(tmp_path: Path) -> None:
    said = read(tmp_path, WHOLE)

    nightly, other = said.pipelines
    assert (nightly.name, nightly.stage_order) == ("nightly", ("translator", "merger"))
    assert (nightly.progress_interval_s, nightly.run_policy, nightly.timeout_s) == (0.5, "gated", 7200)
    assert nightly.place == f"{tmp_path}/runstate.toml:1"
    timetable = nightly.timetable
    assert timetable is not None
    assert (timetable.cron, timetable.tz) == ("0 7 * * 1-5", "America/Chicago")
    assert (timetable.missed, timetable.overlap, timetable.enabled) == ("run_once", "queue", False)
    first, second = nightly.stages
    assert first.work == Command(
        "python translate.py --out {workdir}", (("LANG", "C.UTF-8"),), str(tmp_path / "scripts")
    )
    assert (first.retries, first.retry_on, first.backoff_s, first.backoff_max_s) == (
        2,
        ("exit_status", "timeout"),
        3,
        60,
    )
    assert (first.timeout_s, first.grace_s, first.on_interrupt) == (3600, 5, "fail")
    assert second.work == Command("true", (), str(tmp_path))
    assert (second.retries, second.retry_on, second.timeout_s) == (0, None, None)
    assert (other.timetable, other.run_policy, other.timeout_s) == (None, "always", None)
    assert other.stages[0].work == Command("true", (("A", "1"),), str(tmp_path))
    assert said.keep == Keep(30, 10000)
    assert said.webhooks == (WebhookConfig("https://ops.example/hook", ("failed", "success"), "HOOK_SECRET"),)


def test_an_empty_file_says_nothing(tmp_path: Path) -> None:
    assert read(tmp_path, "") == read(tmp_path, "# nothing\r\n")
    assert read(tmp_path, "").pipelines == ()
    assert read(tmp_path, "[store]\n").keep == Keep()


def test_what_windows_editors_write_does_no_harm(tmp_path: Path) -> None:
    said = read(tmp_path, "\ufeff" + WHOLE.replace("\n", "\r\n"))

    assert said.pipelines[1].place.endswith(":24")


@pytest.mark.parametrize(
    ("old", "new", "line", "complaint"),
    [
        ("timeout_s = 7200", "timeout_s = 7200 s", 4, "not TOML: "),
        ('A = "1"', 'A = "1', 29, "not TOML: "),
        ("[store]", "[stores]", 31, "unknown key 'stores' in the file; did you mean 'store'?"),
        ("timeout_s = 7200", "time_out = 7200", 4, "unknown key 'time_out' in [pipeline.nightly]; did you mean 'timeout_s'?"),
        ("retries = 2", "retrys = 2", 10, "unknown key 'retrys' in [[pipeline.nightly.stage]]; did you mean 'retries'?"),
        ("keep_days = 30", "keep_months = 1", 32, "unknown key 'keep_months' in [store]"),
        ("secret_env =", "secret =", 38, "unknown key 'secret' in [[webhook]]; did you mean 'secret_env'?"),
        ('tz = "America', 'zone = "America', 5, "unknown key 'zone' in [pipeline.nightly.schedule]"),
        ('tz = "America/Chicago"', 'tz = "Chicago"', 5, "tz 'Chicago' is not a time zone"),
        ('"0 7 * * 1-5"', '"0 25 * * 1-5"', 5, "cron '0 25 * * 1-5' is not a cron expression"),
        ('missed = "run_once"', 'missed = "later"', 5, "missed is 'later'; use skip or run_once"),
        ("enabled = false", 'enabled = "no"', 5, "enabled is 'no'; true or false is needed"),
        ('cron = "0 7 * * 1-5", ', "", 5, "[pipeline.nightly.schedule] has no cron; add cron ="),
        ('schedule = { cron = "0 7 * * 1-5"', 'schedule = "0 7 * * *" # {', 5, "schedule is '0 7 * * *'; a table is needed, written as { … }"),
        ("[pipeline.nightly]", "[pipeline.Nightly]", None, "pipeline name 'Nightly' is not allowed"),
        ("progress_interval_s = 0.5", "progress_interval_s = -1", 2, "progress_interval_s is -1"),
        ('run_policy = "gated"', 'run_policy = "never"', 3, 'run_policy is \'never\'; use "always" or "gated"'),
        ("timeout_s = 7200", "timeout_s = 0", 4, "timeout_s is 0; leave it out"),
        ('name = "translator"', 'name = "Trans"', 8, "stage name 'Trans' is not allowed"),
        ('name = "merger"', 'name = "translator"', 20, "there is a stage translator already"),
        ('name = "merger"\n', "", 20, "[[pipeline.nightly.stage]] has no name; add name ="),
        ('command = "true"\n\n', "\n", 20, "[[pipeline.nightly.stage]] has no command; add command ="),
        ("{workdir}", "{outdir}", 9, "'{outdir}', which is no placeholder"),
        ("retries = 2", "retries = -1", 10, "retries is -1; a whole number from 0 is needed"),
        ("retries = 2", "retries = 2.0", 10, "retries is 2.0"),
        ('"timeout"]', '"time-out"]', 11, "retry_on names 'time-out'; it may name"),
        ("backoff_s = 3", "backoff_s = 300", 7, "backoff_s is 300, more than backoff_max_s 60"),
        ("grace_s = 5", "lease_s = 0.5", 15, "lease_s is 0.5; at least 1 s are needed to tell quiet from dead"),
        ("grace_s = 5", 'grace_s = "5"', 15, "grace_s is '5'; a number of seconds from 0 is needed"),
        ("grace_s = 5", "grace_s = 1e300", 15, "grace_s is 1e+300 seconds; at most 31622400, a year, is allowed"),
        ("timeout_s = 7200", "timeout_s = nan", 4, "timeout_s is nan; a number of seconds from 0 is needed"),
        ("retries = 2", "retries = 1000001", 10, "retries is 1000001; at most 1000000 is allowed"),
        ("[[webhook]]", '[[webhook]]\nurl = "https://ops.example/hook"\non = ["failed"]\n[[webhook]]', 39, "url is that of a [[webhook]] above"),
        ('on_interrupt = "fail"', 'on_interrupt = "stop"', 16, "on_interrupt is 'stop'"),
        ('LANG = "C.UTF-8"', "LANG = 1", 17, "env sets LANG to 1; a text without null bytes is needed"),
        ('cwd = "scripts"', "cwd = 1", 18, "cwd is 1; the path of a folder is needed"),
        ("keep_days = 30", "keep_days = -1", 32, "keep_days is -1; a number of days from 0 is needed"),
        ("keep_versions = 10000", "keep_versions = 0", 33, "keep_versions is 0; a whole number from 1 is needed"),
        ("https://ops", "ops", 36, "url is not an absolute http or https URL"),
        ('"failed", "success"', '"failed", "started"', 37, "on names 'started'"),
        ('"HOOK_SECRET"', '"not a name"', 38, "secret_env is 'not a name'"),
        ("[[webhook]]", "[webhook]", 35, "webhook in the file must be written as [[webhook]]"),
        ("[[pipeline.other.stage]]", "[pipeline.other.stage]", 25, "must be written as [[pipeline.other.stage]]"),
    ],
)  # fmt: skip
def test_each_mistake_names_its_line(tmp_path: Path, old: str, new: str, line: int | None, complaint: str) -> None:
    assert old in WHOLE
    with pytest.raises(DefinitionError, match=re.escape(complaint)) as refusal:
        read(tmp_path, WHOLE.replace(old, new, 1))
    place = str(refusal.value).partition(": ")[0]
    assert line is None or f"{tmp_path}/runstate.toml:{line}" in str(refusal.value), place
    assert "\n" not in str(refusal.value)


def test_a_pipeline_without_stages_says_how_to_add_one(tmp_path: Path) -> None:
    with pytest.raises(
        DefinitionError, match=r"runstate\.toml:1: pipeline a has no stage; add \[\[pipeline\.a\.stage\]\]"
    ):
        read(tmp_path, "[pipeline.a]\n")


def test_a_file_that_is_no_text_names_the_line(tmp_path: Path) -> None:
    (tmp_path / "runstate.toml").write_bytes(b"[store]\n# \xff\n")
    with pytest.raises(DefinitionError, match=r"runstate\.toml:2: the file is not UTF-8"):
        read_configuration(tmp_path / "runstate.toml")
