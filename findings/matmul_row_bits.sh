#!/usr/bin/env bash
# Rows of one matrix product are not computed alike. 512 copies of one float32 row times one matrix give
# three or four different results in NumPy 2.4.6 (OpenBLAS), which depend on the row's place, and two in
# TensorFlow 2.21 run eagerly on one thread. Compiled by XLA all 512 are the same, but other ones than for
# 8 rows: batches of one compiled size agree with themselves only. A forecast that must not depend on what
# shares its batch needs one compiled size, or sizes that were compared.
# Seen on x86-64: NumPy 3 for 512 rows and 4 for 1000, TensorFlow up to 2, XLA 1; XLA's for 8 rows are others
# for a matrix of 240 x 24.
# Guessed before: a row's result depends on its numbers, and perhaps on the batch's size, not on its place.
#
# Exits with 0 while that is so, with 1 as soon as the libraries behave otherwise.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT

cat >"$folder/try.py" <<'PYTHON'
import sys

import numpy as np
import tensorflow as tf

tf.config.threading.set_intra_op_parallelism_threads(1)
tf.config.threading.set_inter_op_parallelism_threads(1)
print(f"numpy {np.__version__}, tensorflow {tf.__version__}")


@tf.function(jit_compile=True)
def compiled(rows, matrix):
    return tf.matmul(rows, matrix)


def results(product):
    return len(np.unique(product, axis=0))


rng = np.random.default_rng(0)
most = {"numpy": 0, "eager": 0, "xla": 0}
sizes_differ = False
for inputs, outputs in ((240, 2), (16, 96), (240, 24), (28, 96), (24, 2)):
    row = rng.standard_normal(inputs).astype(np.float32)
    matrix = rng.standard_normal((inputs, outputs)).astype(np.float32)
    for count in (8, 128, 512, 1000):
        rows = np.tile(row, (count, 1))
        found = {
            "numpy": results(rows @ matrix),
            "eager": results(tf.matmul(rows, matrix).numpy()),
            "xla": results(compiled(rows, matrix).numpy()),
        }
        most = {name: max(most[name], found[name]) for name in most}
        print(f"  {count:4} equal rows of {inputs} times {inputs} x {outputs}: different results {found}")
    few, many = (compiled(np.tile(row, (n, 1)), matrix).numpy()[0] for n in (8, 512))
    sizes_differ |= not np.array_equal(few, many)
print(f"most different results: {most}; compiled for 8 and for 512 rows, they differ: {sizes_differ}")
same = most["numpy"] > 1 and most["eager"] > 1 and most["xla"] == 1 and sizes_differ
print("as found" if same else "CHANGED")
sys.exit(0 if same else 1)
PYTHON

python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check numpy==2.4.6 tensorflow-cpu==2.21.0
TF_CPP_MIN_LOG_LEVEL=3 "$folder/venv/bin/python" "$folder/try.py"
