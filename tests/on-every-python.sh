#!/bin/sh
# Runs `make test` on every CPython >= 3.11 found on PATH or under pyenv, each in an environment of its own.
set -u
cd "$(dirname "$0")/.."
# Nobody shall need a compiler, on any of them.
export PIP_ONLY_BINARY=:all:
tested=""
failed=""
for python in $(ls -d "${PYENV_ROOT:-$HOME/.pyenv}"/versions/*/bin/python 2>/dev/null) \
    $(for minor in 11 12 13 14 15; do command -v "python3.$minor"; done) $(command -v python3); do
    version=$("$python" -c 'import sys; print("{}.{}".format(*sys.version_info)) if sys.version_info >= (3, 11) and sys.implementation.name == "cpython" else None' 2>/dev/null) || continue
    case "$version" in ""|None) continue ;; esac
    case " $tested " in *" $version "*) continue ;; esac
    tested="$tested $version"
    echo "== Python $version ($python)"
    make --no-print-directory test PYTHON="$python" VENV=".venvs/$version" ARGS="$*" || failed="$failed $version"
done
[ -n "$tested" ] || { echo "no CPython >= 3.11 found" >&2; exit 1; }
echo "tested:$tested"
[ -z "$failed" ] || { echo "failed:$failed" >&2; exit 1; }
