#!/bin/sh
# Fetches the npm packages that tests read, into .cache/npm; does nothing when they are there in the right version.
# What cannot be fetched is no error: tests skip what they lack (tests/programs.py).
set -eu
cd "$(dirname "$0")/../.."
PATH="$PWD/.venv/bin:$PATH" # the development packages bring an npm

fetch() {
    have=".cache/npm/node_modules/$1/package.json"
    if [ -f "$have" ] && grep -q "\"version\": *\"$2\"" "$have"; then
        return
    fi
    npm install --prefix .cache/npm --no-save --no-package-lock --no-audit --no-fund --no-update-notifier \
        --loglevel=error "$1@$2" || echo "crossfade: npm could not fetch $1@$2; its messages are above" >&2
}

fetch @unleash/client-specification 6.1.0
