#!/bin/sh
# A run that a shell script executes: one request opens it, one per step reports it. Needs curl and a server:
#   sh examples/track_curl.sh http://127.0.0.1:8642
set -eu
url=${1:?the server, such as http://127.0.0.1:8642}
headers=$(mktemp)
trap 'rm -f "$headers"' EXIT

post() { # path, body, further options of curl
    path=$1 body=$2
    shift 2
    curl --fail-with-body --silent --show-error --retry 5 --retry-connrefused \
        --header 'Content-Type: application/json' --data "$body" "$@" "$url/api/$path"
    echo
}

tell() { # seq, facts: a report may be sent again with its number, and is taken once
    post "runs/$run/facts" "{\"seq\": $1, \"facts\": [$2]}" --header "Runstate-Token: $token"
}

opened=$(post pipelines/from_a_shell/runs '{"stages": ["load", "save"], "metadata": {"host": "here"}, "lease_s": 60}' \
    --dump-header "$headers")
run=$(printf '%s' "$opened" | sed 's/.*"run_id":"\([^"]*\)".*/\1/')
token=$(tr -d '\r' <"$headers" | sed -n 's/^[Rr]unstate-[Tt]oken: //p')

tell 1 '{"fact": "stage_started", "stage": "load"}, {"fact": "progress", "stage": "load", "done": 1, "total": 2}'
tell 2 '{"fact": "log", "text": "half of it"}, {"fact": "heartbeat"}'
tell 3 '{"fact": "stage_succeeded", "stage": "load", "outputs": {"rows": 2}}'
tell 4 '{"fact": "stage_succeeded", "stage": "save"}'
