#!/bin/sh
# The web workspace: `web.sh install` makes web/node_modules, `build` the dashboard's bundle, `check` looks for mistakes.
# A machine without Node keeps the bundle that it has, such as the one in a source distribution.
set -eu

bundle=src/runstate/server/dashboard/index.html

fail() {
    echo "make web: $1" >&2
    exit 1
}

node_is_there() {
    command -v npm >/dev/null 2>&1 && node -e '[a, b] = process.versions.node.split("."); process.exit(a > 20 || (a == 20 && b >= 19) ? 0 : 1)' 2>/dev/null
}

case $1 in
install)
    if node_is_there; then
        cd web
        npm ci --loglevel=error || fail "npm could not install what web/package-lock.json names"
        touch node_modules/.ready
    fi
    ;;
build)
    if node_is_there; then
        (cd web && npm run --silent build) || fail "the dashboard does not build; the message is above"
        [ -f "$bundle" ] || fail "npm run build left no $bundle"
        touch "$bundle"
    elif [ -f "$bundle" ]; then
        echo "make web: no Node 20.19 here; the dashboard stays as it was built before" >&2
    else
        fail "Node 20.19 or newer (with npm) is needed to build the dashboard, and there is none on PATH"
    fi
    ;;
check)
    node_is_there || fail "Node 20.19 or newer (with npm) is needed to check web/, and there is none on PATH"
    [ -d web/node_modules ] || sh scripts/web.sh install
    cd web && npm run --silent check
    ;;
esac
