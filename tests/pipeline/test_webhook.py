"""A receiver is right or refused with the name of what is wrong."""

from __future__ import annotations

import pytest

from runstate.core.errors import DefinitionError
from runstate.pipeline.webhook import WebhookConfig, webhook_config

URL = "https://ops.example/hook"


def test_a_right_one_is_a_value():
    assert webhook_config(URL, ["failed", "success"], "S") == WebhookConfig(URL, ("failed", "success"), "S")
    assert webhook_config(URL, ["blocked"]).secret_env is None


@pytest.mark.parametrize(
    ("url", "receiver"),
    [
        (URL, "https://ops.example"),
        ("http://user:secret@ops.example:8080/secret?key=secret#secret", "http://ops.example:8080"),
        ("http://[::1]:9/secret", "http://[::1]:9"),
    ],
)
def test_only_the_host_of_a_receiver_is_shown(url, receiver):
    assert webhook_config(url, ["failed"]).receiver == receiver


@pytest.mark.parametrize(
    ("values", "complaint"),
    [
        (("ops.example/hook", ["failed"]), "^url is"),
        (("ftp://ops.example", ["failed"]), "^url is"),
        (("http://[::1", ["failed"]), "^url is"),
        (("http://ops.example:99999", ["failed"]), "^url is"),
        ((7, ["failed"]), "^url is"),
        (("htps://user:secret@ops.example", ["failed"]), "^url is not an absolute http or https URL$"),
        ((URL, []), "^on is"),
        ((URL, "failed"), "^on is"),
        ((URL, ["failed", "failed"]), "different words"),
        ((URL, ["started"]), "^on names 'started'"),
        ((URL, [["failed"]]), "^on names"),
        ((URL, ["failed"], "not a name"), "^secret_env is"),
        ((URL, ["failed"], 7), "^secret_env is"),
    ],
)
def test_a_wrong_one_is_named(values, complaint):
    with pytest.raises(DefinitionError, match=complaint):
        webhook_config(*values)
