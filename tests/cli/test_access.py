"""Tokens, origins and addresses: who gets in, and what the others are told."""

from __future__ import annotations

import urllib.error
import urllib.request

import pytest

from tests.cli.terminal import Server, assert_refused, runstate

TOKEN = "s3cret-of-the-night"
READS = [["status", "--json"], ["history", "latest"], ["logs", "latest", "-f"], ["watch", "--once"]]
COMMANDS = [["start", "quick", "--wait"], ["retry", "latest"]]  # one of each way in which a command asks a server


@pytest.fixture
def guarded(home):
    """A server that wants a token."""
    with Server("pipelines.py", cwd=home, RUNSTATE_TOKEN=TOKEN) as server:
        yield server


def test_every_client_command_says_how_to_get_in(guarded, home):
    for words in [*READS, *COMMANDS]:
        assert_refused(runstate(*words, "--url", guarded.url, cwd=home), 4, "wants a token", "--token")

    wrong = runstate("status", "--token", "not-the-secret", "--url", guarded.url, cwd=home)
    assert_refused(wrong, 4, "does not take this token", "--token")
    assert "not-the-secret" not in wrong.stderr


def test_a_token_gets_every_client_command_in_and_is_never_shown(guarded, home):
    begun = runstate("start", "quick", "--wait", "--token", TOKEN, "--url", guarded.url, cwd=home)
    assert begun.returncode == 0, begun.stderr

    for words in READS:
        done = runstate(*words, cwd=home, RUNSTATE_URL=guarded.url, RUNSTATE_TOKEN=TOKEN)
        assert done.returncode == 0, (words, done.stderr)
        assert TOKEN not in done.stdout + done.stderr
    assert_refused(runstate("retry", "latest", "--token", TOKEN, "--url", guarded.url, cwd=home), 4, "success")

    guarded.kill()
    assert TOKEN not in "".join(guarded.out.lines + guarded.err.lines)
    for command in ("serve", "status"):
        assert TOKEN not in runstate(command, "--help", cwd=home, RUNSTATE_TOKEN=TOKEN).stdout


def test_a_file_of_tokens_says_who_may_read_and_who_may_command(home):
    (home / "tokens.toml").write_text(
        '[[token]]\nname = "eye"\ntoken = "only-looks-at-it"\nscope = "read"\n'
        f'[[token]]\nname = "hand"\ntoken = "{TOKEN}"\nscope = "control"\n'
    )
    with Server("pipelines.py", "--tokens", "tokens.toml", cwd=home) as server:

        def call(secret, *words):
            return runstate(*words, cwd=home, RUNSTATE_URL=server.url, RUNSTATE_TOKEN=secret)

        assert call("only-looks-at-it", "status").returncode == 0
        assert call("only-looks-at-it", "watch", "--once").returncode == 0
        assert_refused(call("only-looks-at-it", "start", "quick"), 4, "eye", "only read")
        assert call(TOKEN, "start", "quick", "--wait").returncode == 0
        assert '"by":"hand"' in call(TOKEN, "show", "latest", "--json").stdout


@pytest.mark.parametrize(
    ("words", "more", "said"),
    [
        (["--token", "abcdefgh", "--tokens", "tokens.toml"], {}, "--tokens"),
        (["--tokens", "tokens.toml"], {"RUNSTATE_TOKEN": "abcdefgh"}, "RUNSTATE_TOKEN"),
        (["--tokens", "none.toml"], {}, "none.toml"),
        (["--tokens", "pipelines.py"], {}, "pipelines.py"),
        (["--token", ""], {}, "--token"),
        (["--token", "two words"], {}, "--token"),
        (["--allow-origin", "*"], {}, "--allow-origin *"),
        (["--allow-origin", "https://dash.example/page"], {}, "https://dash.example:3000"),
        (["--host", "0.0.0.0"], {}, "--token"),
    ],
    ids=str,
)
def test_who_may_come_in_is_said_once_and_rightly(home, words, more, said):
    (home / "tokens.toml").write_text('[[token]]\nname = "a"\ntoken = "abcdefgh"\nscope = "read"\n')

    assert_refused(runstate("serve", "pipelines.py", *words, "--port", "0", cwd=home, **more), 2, said)


def test_a_token_that_cannot_be_sent_is_wrong_usage(tmp_path):
    done = runstate("status", "--token", "schlüssel", cwd=tmp_path)

    assert_refused(done, 2, "--token")
    assert "schlüssel" not in done.stderr


@pytest.mark.parametrize("more", [["--token", TOKEN], ["--insecure"]], ids=" ".join)
def test_it_listens_anywhere_once_that_is_said(home, more):
    with Server("pipelines.py", "--host", "0.0.0.0", *more, cwd=home) as server:
        url = server.url.replace("0.0.0.0", "127.0.0.1")

        assert runstate("status", "--token", TOKEN, "--url", url, cwd=home).returncode == 0
        assert (runstate("status", "--url", url, cwd=home).returncode == 0) == (more == ["--insecure"])


def test_pages_of_others_may_command_if_they_are_listed(home):
    def post(origin):
        asked = urllib.request.Request(f"{server.url}/api/pipelines/held/start", b"{}", {"origin": origin})
        asked.add_header("content-type", "application/json")
        with urllib.request.urlopen(asked) as answer:
            return answer.status

    origins = ["--allow-origin", "https://Dash.example/", "--allow-origin", "http://[::1]:3000"]
    with Server("pipelines.py", *origins, cwd=home) as server:
        with pytest.raises(urllib.error.HTTPError, match="403"):
            post("https://elsewhere.example")
        assert post("https://dash.example") == 202
