#!/bin/sh
# Programs that tests or benchmarks run and pip cannot bring: postgresql, chromium, nginx, haproxy, node.
# Installs what is missing with apt-get when it may (root), and says plainly what is missing when it may not.
set -eu

have() {
    case $1 in
        postgresql) command -v postgres >/dev/null || ls /usr/lib/postgresql/*/bin/postgres >/dev/null 2>&1 ;;
        chromium) command -v chromium >/dev/null || command -v chromium-browser >/dev/null || command -v google-chrome >/dev/null ;;
        npm) command -v npm >/dev/null ;;
        nginx | haproxy) command -v "$1" >/dev/null || [ -x "/usr/sbin/$1" ] ;;
        *) echo "system-packages.sh: unknown program $1" >&2; exit 2 ;;
    esac
}

missing=
for program in "$@"; do
    have "$program" || missing="$missing $program"
done
[ -n "$missing" ] || exit 0

if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null; then
    echo "crossfade: missing:$missing" >&2
    echo "Install them with your system's package manager (Debian: sudo apt-get install$missing) and try again." >&2
    exit 1
fi
echo "crossfade: installing with apt-get:$missing"
export DEBIAN_FRONTEND=noninteractive
log=$(mktemp)
# shellcheck disable=SC2086 # several words
if ! { apt-get update && apt-get install -y --no-install-recommends $missing; } >"$log" 2>&1 </dev/null; then
    tail -n 20 "$log" >&2
    echo "crossfade: apt-get could not install:$missing" >&2
    exit 1
fi
rm -f "$log"
