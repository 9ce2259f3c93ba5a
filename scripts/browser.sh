#!/bin/sh
# See to it that there is a Chromium for the browser tests, where it may be installed. Never fails: without one the
# tests themselves say that they are skipped and why, and fail when CI=true (tests/conftest.py).
for browser in chromium chromium-browser google-chrome; do
    command -v "$browser" >/dev/null 2>&1 && exit 0
done
sh scripts/apt.sh chromium fonts-dejavu-core ||
    echo "no Chromium, and it cannot be installed from here: the browser tests will be skipped" >&2
exit 0
