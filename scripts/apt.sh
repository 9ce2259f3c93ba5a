#!/bin/sh
# Install Debian packages: `apt.sh PACKAGE…`. Fails quietly where that is not ours to do: no apt, neither root nor
# passwordless sudo. The caller says what is missing.
set -eu

command -v apt-get >/dev/null 2>&1 || exit 1
if [ "$(id -u)" = 0 ]; then
    as_root=
elif sudo -n true 2>/dev/null; then
    as_root=sudo
else
    exit 1
fi
log=$(mktemp)
trap 'rm -f "$log"' EXIT
echo "installing $* with apt-get" >&2
if ! {
    $as_root env DEBIAN_FRONTEND=noninteractive apt-get update &&
        $as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends "$@"
} >"$log" 2>&1 </dev/null; then
    tail -n 20 "$log" >&2
    exit 1
fi
