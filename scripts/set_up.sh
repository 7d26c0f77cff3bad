#!/usr/bin/env bash
# Bring the dependency groups that are named into the environment in .venv, from uv.lock; what it holds already stays.
# Needs python3 (3.11 or later) and nothing else: uv is taken where there is one, else installed into the environment.
#   bash scripts/set_up.sh train
set -euo pipefail
cd "$(dirname "$0")/.."

fail() {
    echo "error: $1" >&2
    exit 1
}

[[ $# -gt 0 ]] || fail "name the dependency groups of pyproject.toml to install, train for example."

# .venv/.ready has the groups that are there, and is newer than what decides which packages they have.
READY=.venv/.ready
is_ready() {
    [[ -f $READY && -x .venv/bin/python ]] || return 1
    local here file group
    here=$(<"$READY")
    for file in pyproject.toml uv.lock scripts/set_up.sh; do
        [[ ! $file -nt $READY ]] || return 1
    done
    for group in "$@"; do
        [[ " $here " == *" $group "* ]] || return 1
    done
}
if is_ready "$@"; then
    exit
fi

command -v python3 >/dev/null || fail "python3 is not on the PATH: install Python 3.11 or later."
python3 -c 'import sys; sys.exit(sys.version_info < (3, 11))' ||
    fail "$(python3 --version) is too old: put Python 3.11 or later first on the PATH."

# Each of two at once would take away what the other installs. The lock is this shell's, through what it has open as 9, and
# goes with it.
exec 9<scripts/set_up.sh
python3 -c 'import fcntl; fcntl.flock(9, fcntl.LOCK_EX)'
if is_ready "$@"; then
    exit
fi

begin=$SECONDS
if ! command -v uv >/dev/null; then
    if [[ ! -x .venv/bin/uv ]]; then
        echo "Making the environment in .venv …" >&2
        python3 -m venv --clear .venv ||
            fail "python3 cannot make an environment: install the package python3-venv."
        # The hashes of uv.lock, for pip knows nothing of that file: whatever else the index has is refused.
        sed -n '/^name = "uv"$/,/^$/p' uv.lock | sed -nE '
            s/^version = "(.*)"$/uv==\1/p
            s/.*hash = "(sha256:[0-9a-f]+)".*/    --hash=\1/p' | sed '$!s/$/ \\/' >.venv/uv.txt
        .venv/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes --only-binary=:all: -r .venv/uv.txt
    fi
    PATH=$PWD/.venv/bin:$PATH
fi

# A group that pyproject.toml no longer has is forgotten; uv refuses one that is asked for.
here=$(for group in $(cat "$READY" 2>/dev/null); do if grep -q "^$group = \[" pyproject.toml; then echo "$group"; fi; done)
groups=$(printf '%s\n' $here "$@" | sort -u)
# The environment is for this machine's own Python: none is downloaded.
options=(--frozen --no-python-downloads --python "$(command -v python3)" --no-default-groups)
for group in $groups; do
    options+=(--group "$group")
done
export UV_PROJECT_ENVIRONMENT=.venv
# pip trusts the certificates that the system trusts; so shall uv.
export UV_SYSTEM_CERTS=${UV_SYSTEM_CERTS:-true}
if ! uv sync --quiet --check "${options[@]}" 2>/dev/null; then
    echo "Installing the packages of ${groups//$'\n'/+} into .venv, once; it takes a minute or so …" >&2
    uv sync --quiet --compile-bytecode "${options[@]}"
    echo "Installed: $(du -sm .venv | cut -f1) MB in $((SECONDS - begin)) s." >&2
fi
# The environment imports the functions as the images do, each package at the top level, and `crosstrain`. The builds that
# hold rights must not find them on Python's path: what is in functions/ is the model team's.
if grep -qvxE 'build|images|system-test' <<<"$groups"; then
    for packages in .venv/lib/python3*/site-packages; do
        echo "$PWD/functions" >"$packages/crosstrain.pth"
        # Of scripts/ the package alone: on the path, the commands beside it would be modules named train and models.
        ln -sfn "$PWD/scripts/crosstrain" "$packages/crosstrain"
    done
fi
echo $groups >"$READY"
