#!/usr/bin/env bash
# river's KSWIN takes any window_size that is not below stat_size (30 unless given), and raises a ValueError
# of the random module once its window is full, at the window_size-th value, if window_size is less than
# twice stat_size: it draws stat_size values out of the window_size - stat_size older ones. A detector that
# is made with window_size=50 runs for 49 values.
# Guessed before: a window that the constructor accepts is one that it can test.
#
# Exits with 0 while that is so, with 1 as soon as the detector behaves otherwise.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT

cat >"$folder/try.py" <<'PYTHON'
import inspect
import sys

import river
from river.drift import KSWIN

print(f"river {river.__version__}, stat_size {inspect.signature(KSWIN).parameters['stat_size'].default}")


def values_until_error(window):
    detector = KSWIN(window_size=window, seed=1)
    for count in range(1, 301):
        try:
            detector.update(float(count % 7))
        except ValueError as error:
            return count, str(error)
    return None


found = {window: values_until_error(window) for window in (29, 30, 50, 59, 60, 100) if window >= 30}
try:
    KSWIN(window_size=29)
except ValueError as error:
    print(f"  window_size 29: refused when it is made ({error})")
for window, outcome in found.items():
    print(f"  window_size {window}: {'300 values' if outcome is None else f'at value {outcome[0]}: {outcome[1]}'}")
same = all((found[window] or (0,))[0] == window for window in (30, 50, 59)) and not (found[60] or found[100])
print("as found" if same else "CHANGED")
sys.exit(0 if same else 1)
PYTHON

python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check river==0.26.1
"$folder/venv/bin/python" "$folder/try.py"
