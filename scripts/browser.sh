#!/bin/sh
# See to it that there is a Chromium for the browser tests, and what Playwright's driver needs, where both may be
# installed. Never fails: the tests themselves say that they are skipped and why, and fail when CI=true (tests/conftest.py).
missing=
command -v chromium >/dev/null 2>&1 || command -v chromium-browser >/dev/null 2>&1 ||
    command -v google-chrome >/dev/null 2>&1 || missing="chromium fonts-dejavu-core"
# The driver is a Node of its own, which a bare Debian has one library too few for.
.venv/bin/python -m playwright --version >/dev/null 2>&1 || missing="$missing libatomic1"

if [ -n "$missing" ]; then
    # shellcheck disable=SC2086  # several words on purpose
    sh scripts/apt.sh $missing ||
        echo "cannot install $missing from here: the browser tests will be skipped" >&2
fi
exit 0
