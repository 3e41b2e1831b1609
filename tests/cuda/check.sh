#!/bin/sh
# What only a GPU can show; see check.py. Run from anywhere, in the environment of the project.
set -eu
cd "$(dirname "$0")/../.."
PYTHONPATH="$PWD${PYTHONPATH:+:$PYTHONPATH}" exec python3 tests/cuda/check.py "$@"
