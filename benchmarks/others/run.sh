#!/usr/bin/env bash
# kaira's and HermesPy's channels, each in an environment of its own: writes FOLDER/{kaira,hermespy}.json
# for `python benchmarks/air.py --others FOLDER/*.json`. Run beside it, on the same machine.
set -euo pipefail
here="$(cd "$(dirname "$0")" && pwd)"
out="${1:-benchmark_others}"
mkdir -p "$out"
make_environment() { [ -d "$out/$1" ] || python3 -m venv "$out/$1"; }

make_environment kaira
# Only its channels are run: what the rest of kaira needs (torchvision, compressai) is left out.
"$out/kaira/bin/pip" install --quiet "torch>=2.9,<2.14" torchmetrics numpy matplotlib seaborn joblib
"$out/kaira/bin/pip" install --quiet --no-deps pykaira==0.2.1
"$out/kaira/bin/python" "$here/kaira_awgn.py" "$out/kaira.json"

make_environment hermespy
"$out/hermespy/bin/pip" install --quiet hermespy==1.6.0
"$out/hermespy/bin/python" "$here/hermespy_tdl.py" "$out/hermespy.json"
