#!/bin/sh
# Fetches the npm packages that tests read, into .cache/npm; does nothing when they are there in the right version.
set -eu
cd "$(dirname "$0")/../.."
PATH="$PWD/.venv/bin:$PATH" # the development packages bring an npm

fetch() {
    have=".cache/npm/node_modules/$1/package.json"
    if [ -f "$have" ] && grep -q "\"version\": *\"$2\"" "$have"; then
        return
    fi
    npm install --prefix .cache/npm --no-save --no-package-lock --no-audit --no-fund --loglevel=error "$1@$2"
}

fetch @unleash/client-specification 6.1.0
