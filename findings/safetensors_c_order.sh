#!/usr/bin/env bash
# safetensors 0.8.0 stores an array that is not C-ordered as it lies in memory, under its logical
# shape, without an error: what is loaded is another array. 0.7.0 copied such an array first, and
# loaded what was saved.
#
# Exits with 0 while that is so, with 1 as soon as either version behaves otherwise.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT

cat >"$folder/try.py" <<'PYTHON'
import sys

import numpy as np
import safetensors
from safetensors.numpy import load, save

kept = np.arange(6, dtype=np.float32).reshape(2, 3)
arrays = {
    "C-ordered": kept,
    "transposed": kept.T,
    "strided": np.arange(12, dtype=np.float32).reshape(2, 6)[:, ::2],
}
print(f"safetensors {safetensors.__version__}, numpy {np.__version__}")
found = []
for name, array in arrays.items():
    try:
        loaded = load(save({"a": array}))["a"].tolist()
    except Exception as error:
        loaded = f"{type(error).__name__}: {error}"
    same = loaded == array.tolist()
    found.append("same" if same else "refused" if isinstance(loaded, str) else "other")
    print(f"  {name}: saved {array.tolist()}, loaded {loaded}: {found[-1]}")
sys.exit(0 if found == sys.argv[1:] else 1)
PYTHON

seen() { # version, then what is expected of the three arrays
    python3 -m venv "$folder/$1"
    "$folder/$1/bin/pip" install --quiet --disable-pip-version-check "safetensors==$1" numpy==2.2.6
    "$folder/$1/bin/python" "$folder/try.py" "${@:2}" || { echo "changed in $1"; exit 1; }
}

seen 0.7.0 same same same
seen 0.8.0 same other other
