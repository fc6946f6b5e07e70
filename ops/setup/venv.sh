#!/bin/sh
# Makes .venv with exactly the pinned packages (runtime or dev) and ourselves, by plain pip, without root.
# Does nothing when a stamp says that it is there. PYTHON chooses the interpreter.
set -eu
cd "$(dirname "$0")/../.."
kind=${1:-runtime}
case $kind in
    runtime) list=requirements.txt ;;
    dev) list=requirements-dev.txt ;;
    *) echo "usage: venv.sh [runtime|dev]" >&2; exit 2 ;;
esac
venv=.venv

stamp_of() { cat "$1" pyproject.toml | cksum; }

warm() { [ -x "$venv/bin/crossfade" ] && [ -f "$venv/.stamp-$kind" ] && [ "$(cat "$venv/.stamp-$kind")" = "$(stamp_of "$list")" ]; }

fail() { echo "crossfade: $*" >&2; exit 1; }

find_python() {
    for name in ${PYTHON:-python3 python3.13 python3.12 python3.11 python}; do
        if command -v "$name" >/dev/null 2>&1 && "$name" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
            command -v "$name"
            return
        fi
    done
}

choose_python() {
    python=$(find_python)
    [ -n "$python" ] && return
    have=$(${PYTHON:-python3} --version 2>&1 || true)
    fail "Python 3.11 or newer is needed; found: ${have:-none}. Choose another with PYTHON=/path/to/python3."
}

# Version and standard library: the same for an interpreter and the environments made with it. Empty: it does not run.
installation_of() {
    "$1" -c 'import os, sys; print("Python", sys.version.split()[0], "in", os.path.dirname(os.path.realpath(os.__file__)))' \
        2>/dev/null || true
}

anew=
# A PYTHON that was asked for counts also when .venv is there already.
if [ -n "${PYTHON:-}" ] && [ -d "$venv" ]; then
    choose_python
    asked=$(installation_of "$python")
    have=$(installation_of "$venv/bin/python")
    if [ "$asked" != "$have" ]; then
        echo "crossfade: $venv has ${have:-a Python that does not run}; PYTHON asks for $asked: it is made anew"
        anew=1
    fi
fi

if [ -z "$anew" ] && warm; then exit 0; fi

choose_python
"$python" -c 'import venv, ensurepip' 2>/dev/null ||
    fail "$python has no venv or ensurepip; on Debian and Ubuntu they are in the package python3-venv."

if [ -n "$anew" ] || ! "$venv/bin/python" -m pip --version >/dev/null 2>&1; then
    echo "crossfade: making $venv with $("$python" --version)"
    "$python" -m venv --clear "$venv"
fi
echo "crossfade: installing $list"
export PIP_DISABLE_PIP_VERSION_CHECK=1
rm -f "$venv"/.stamp-*
"$venv/bin/python" -m pip install -q --require-hashes -r "$list" ||
    fail "pip could not install $list; its messages are above. Your pip configuration (index, proxy) is used as it is."
# setuptools is pinned in the list, so ourselves need no index and no isolated build.
"$venv/bin/python" -m pip install -q --no-deps --no-build-isolation -e .
stamp_of "$list" >"$venv/.stamp-$kind"
# What the tests need contains what the service needs.
if [ "$kind" = dev ]; then stamp_of requirements.txt >"$venv/.stamp-runtime"; fi

files=$(ulimit -Hn)
if [ "$files" != unlimited ] && [ "$files" -lt 4096 ]; then
    echo "crossfade: at most $files files may be open (ulimit -Hn); that is enough for about $((files - 200)) sockets" >&2
fi
