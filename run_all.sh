#!/usr/bin/env bash
# ./run_all.sh [--update] [--fresh]   install, execute the notebooks in order, write output/<gpu>/report.html
# ./run_all.sh test [pytest options]  install what tests need, lint, test, execute the notebooks in their quick profile
# ./run_all.sh repository URL         set the repository's address in every notebook and in README
# ./run_all.sh clear-cache            delete the compiled kernels
# SKIP_INSTALL=1 uses the Python environment as it is; PYTHON names the interpreter that makes .venv.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"
export PYTHONPATH="$PWD${PYTHONPATH:+:$PYTHONPATH}" PIP_DISABLE_PIP_VERSION_CHECK=1

find_python() {
    for candidate in "${PYTHON:-python3}" python3.12 python3.11 python3.13; do
        if "$candidate" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' 2>/dev/null; then
            echo "$candidate"
            return
        fi
    done
    echo "Python 3.11, 3.12 or 3.13 is needed: install one, or name it in the variable PYTHON." >&2
    return 1
}

on_colab() { [ -n "${COLAB_RELEASE_TAG:-}" ]; }

enter_environment() {
    if on_colab || [ -n "${VIRTUAL_ENV:-}${CONDA_PREFIX:-}" ] || [ "${SKIP_INSTALL:-}" = 1 ]; then
        return
    fi
    if [ ! -x .venv/bin/python ]; then
        local interpreter
        interpreter=$(find_python)
        echo "Making .venv with $("$interpreter" --version)"
        "$interpreter" -m venv .venv
    fi
    # shellcheck disable=SC1091
    source .venv/bin/activate
}

install() { # install FILE... -- adds what this machine's driver needs; Colab keeps its own CUDA packages
    if [ "${SKIP_INSTALL:-}" = 1 ]; then
        return
    fi
    echo "Installing $*"
    local extra=""
    on_colab || extra=$("$python" -m helpers.installation "$kind")
    # shellcheck disable=SC2086
    "$python" -m pip install -qq ${*/#/-r } $extra
}

install_frameworks() { # the CPU builds of what notebook 05 compares with; tests of one that is not available are skipped
    if [ "${SKIP_INSTALL:-}" = 1 ] || on_colab; then
        return
    fi
    local pair module
    for pair in torch:torch==2.13.0+cpu tensorflow:"tensorflow-cpu>=2.19" jax:"jax>=0.4.30" keras:"keras>=3.6"; do
        module=${pair%%:*}
        "$python" -c "import importlib.util as u; raise SystemExit(u.find_spec('$module') is None)" ||
            "$python" -m pip install -qq "${pair#*:}" 2>/dev/null ||
            echo "$module is not available here: the comparisons with it are skipped."
    done
}

test_on_cores() { # test_on_cores PYTHON [pytest options] -- in several processes where pytest-xdist is installed
    local options=""
    if "$1" -c 'import xdist' 2>/dev/null; then
        options="-n auto --maxprocesses 4 --dist worksteal"
    fi
    # shellcheck disable=SC2086
    "$1" -m pytest $options "${@:2}"
}

assemble() { # assemble PYTHON -- kernels are compiled for the T4 and the H100 without a card, outside the simulator
    NUMBA_ENABLE_CUDASIM=0 test_on_cores "$1" -m assemble
}

assemble_with_colab_versions() { # the same in an environment with the packages that Colab brings
    if [ "${SKIP_INSTALL:-}" = 1 ] || on_colab; then
        return
    fi
    [ -x .venv-colab/bin/python ] || "$python" -m venv .venv-colab
    echo "Installing requirements-colab.txt"
    .venv-colab/bin/python -m pip install -qq -r requirements-colab.txt
    assemble .venv-colab/bin/python
}

enter_environment
python=${SKIP_INSTALL:+${PYTHON:-}}
python=${python:-python}
command=run
case "${1:-}" in test | repository | clear-cache) command=$1 && shift ;; esac

case "$command" in
    run)
        kind=gpu install requirements.txt
        exec "$python" -m helpers.chain run "$@"
        ;;
    test)
        kind=test install requirements.txt requirements-test.txt
        install_frameworks
        "$python" -m ruff check .
        "$python" -m ruff format --check helpers tests
        if [ $# -gt 0 ]; then
            exec "$python" -m pytest "$@"
        fi
        assemble_with_colab_versions
        assemble "$python"
        if "$python" -c 'from helpers.startup import card_name; raise SystemExit(card_name() is None)'; then
            exec "$python" -m pytest -m "not assemble" # one process: the tests share the card
        fi
        test_on_cores "$python" -m "not assemble"
        ;;
    repository) exec "$python" -m helpers.chain repository "${1:?usage: ./run_all.sh repository URL}" ;;
    clear-cache) exec "$python" -m helpers.compiler clear ;;
esac
