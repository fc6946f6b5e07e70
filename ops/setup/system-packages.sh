#!/bin/sh
# Programs that tests or benchmarks run and pip cannot bring: postgresql, pgbouncer, chromium, nginx,
# haproxy.
# Installs what is missing with apt-get when it may (root), and says plainly what is missing when it may not. That is an
# error, but not after --optional: without root, tests skip what they lack (tests/programs.py).
set -eu

short() { echo "crossfade: $1" >&2; exit "$status"; }

status=1
if [ "${1:-}" = --optional ]; then
    status=0
    shift
fi

have() {
    case $1 in
        postgresql) command -v postgres >/dev/null || ls /usr/lib/postgresql/*/bin/postgres >/dev/null 2>&1 ;;
        chromium) command -v chromium >/dev/null || command -v chromium-browser >/dev/null || command -v google-chrome >/dev/null ;;
        nginx | haproxy | pgbouncer) command -v "$1" >/dev/null || [ -x "/usr/sbin/$1" ] ;;
        *) echo "system-packages.sh: unknown program $1" >&2; exit 2 ;;
    esac
}

missing=
for program in "$@"; do
    have "$program" || missing="$missing $program"
done
[ -n "$missing" ] || exit 0

if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null; then
    short "missing:$missing. Install with your system's package manager (Debian: sudo apt-get install$missing)."
fi
echo "crossfade: installing with apt-get:$missing"
export DEBIAN_FRONTEND=noninteractive
log=$(mktemp)
trap 'rm -f "$log"' EXIT
# shellcheck disable=SC2086 # several words
if ! { apt-get update && apt-get install -y --no-install-recommends $missing; } >"$log" 2>&1 </dev/null; then
    tail -n 20 "$log" >&2
    short "apt-get could not install:$missing"
fi
