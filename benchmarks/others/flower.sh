#!/usr/bin/env bash
# Flower's simulation engine in an environment of its own: writes FOLDER/flower.json
# for `python benchmarks/actors.py --others FOLDER/flower.json`. Run beside it, on the same machine.
set -euo pipefail
here="$(cd "$(dirname "$0")" && pwd)"
out="${1:-benchmark_others}"
mkdir -p "$out"
[ -d "$out/flower" ] || python3 -m venv "$out/flower"
"$out/flower/bin/pip" install --quiet "flwr[simulation]==1.41.0"
"$out/flower/bin/python" "$here/flower_rounds.py" "$out/flower.json"
