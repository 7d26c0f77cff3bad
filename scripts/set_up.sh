#!/usr/bin/env bash
# Make the project's environment in .venv from uv.lock, with the dependency group that DEPENDENCIES names (dev if it is
# not set, which is everything). Needs python3 (3.11 or later) and nothing else: uv is taken where there is one, else
# installed into the environment.
set -euo pipefail
cd "$(dirname "$0")/.."

fail() {
    echo "error: $1" >&2
    exit 1
}

command -v python3 >/dev/null || fail "python3 is not on the PATH: install Python 3.11 or later."
python3 -c 'import sys; sys.exit(sys.version_info < (3, 11))' ||
    fail "$(python3 --version) is too old: put Python 3.11 or later first on the PATH."

if ! command -v uv >/dev/null; then
    if [[ ! -x .venv/bin/uv ]]; then
        echo "Making the environment in .venv …" >&2
        python3 -m venv --clear .venv ||
            fail "python3 cannot make an environment: install the package python3-venv."
        version=$(sed -n '/^name = "uv"$/{n;s/^version = "\(.*\)"$/\1/p}' uv.lock)
        .venv/bin/python -m pip install --quiet --disable-pip-version-check "uv==$version"
    fi
    PATH=$PWD/.venv/bin:$PATH
fi
# pip trusts the certificates that the system trusts; so shall uv.
export UV_SYSTEM_CERTS=${UV_SYSTEM_CERTS:-true}
# What delivers imports nothing of functions/, which a model repository fills: there it is not on the import path.
[[ ${DEPENDENCIES:=dev} =~ ^(build|system-test)$ ]] && project=--no-install-project || project=
# The environment is for this machine's own Python: none is downloaded.
UV_PROJECT_ENVIRONMENT=.venv uv sync --frozen --compile-bytecode --quiet --no-python-downloads \
    --python "$(command -v python3)" --no-default-groups --group "$DEPENDENCIES" ${project:+"$project"}
echo "$DEPENDENCIES" >.venv/.ready
