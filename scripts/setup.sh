#!/bin/sh
# Make .venv from uv.lock. Called by `make setup` (which sets uv's variables) when something it reads is newer than .venv.
# What may be missing on a fresh machine is fetched here, or named in one sentence: Python 3.11, the venv module, uv.
set -eu

UV_VERSION=0.13.9 # what wrote uv.lock; pip would take any

fail() {
    echo "make setup: $1" >&2
    exit 1
}

find_python() {
    for candidate in "${PYTHON:-}" python3 python3.13 python3.12 python3.11; do
        if [ -n "$candidate" ] && command -v "$candidate" >/dev/null 2>&1 &&
            "$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1; then
            "$candidate" -c 'import sys; print(sys.executable)'
            return
        fi
    done
    fail "Python 3.11 or newer is needed and there is none on PATH; install it, or name it with PYTHON=/path/to/python3"
}

# Debian keeps `python3 -m venv` working only with the package python3-venv.
need_venv() {
    "$1" -c 'import ensurepip, venv' >/dev/null 2>&1 && return
    version=$("$1" -c 'import sys; print("%d.%d" % sys.version_info[:2])')
    sh scripts/apt.sh "python$version-venv" ||
        fail "$1 cannot make a virtual environment; install its venv package (Debian: apt-get install python3-venv) or uv"
}

find_uv() {
    if command -v uv >/dev/null 2>&1; then
        command -v uv
        return
    fi
    if [ "$(.uv/bin/uv --version 2>/dev/null | cut -d ' ' -f 2)" != "$UV_VERSION" ]; then
        need_venv "$1" >&2
        rm -rf .uv
        "$1" -m venv .uv >&2
        .uv/bin/python -m pip install --quiet --disable-pip-version-check "uv==$UV_VERSION" >&2 ||
            fail "uv $UV_VERSION could not be installed by pip; its message is above"
    fi
    echo .uv/bin/uv
}

python=$(find_python)
uv=$(find_uv "$python")
"$uv" sync --frozen --all-extras --quiet --python "$python" ||
    fail "uv could not install what uv.lock names; its message is above"
touch .venv/.ready
echo "make setup: .venv is ready"
