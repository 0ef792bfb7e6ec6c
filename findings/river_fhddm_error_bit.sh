#!/usr/bin/env bash
# river's FHDDM says that its input is 1 for an error and 0 for a correct answer, as its other detectors of
# bits do. It keeps the highest mean that its window has had, and alarms when the mean has fallen far below
# it: so it alarms when errors become rare, and stays silent when a model that was right goes wrong. Fed
# with the opposite bit, 1 for a correct answer, it finds the rise of errors.
# Guessed before: FHDDM alarms on the same bits as DDM, EDDM, HDDMA and HDDMW, somewhat sooner or later.
#
# Exits with 0 while that is so, with 1 as soon as the detector behaves otherwise.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT

cat >"$folder/try.py" <<'PYTHON'
import random
import sys

import river
from river.drift import binary

QUIET, LOUD = 0.05, 0.60
draw = random.Random(1)


def bits(first, second):
    return [int(draw.random() < first) for _ in range(500)] + [
        int(draw.random() < second) for _ in range(500)
    ]


def first_alarm_after_the_change(detector, stream):
    for place, bit in enumerate(stream):
        detector.update(bit)
        if detector.drift_detected and place >= 500:
            return place
    return None


rises, falls = bits(QUIET, LOUD), bits(LOUD, QUIET)
print(f"river {river.__version__}; the share of ones changes at 500: {QUIET} and {LOUD}")
print(f"  FHDDM's own words: {'1 indicates error' in binary.FHDDM.__doc__=}")
found = {
    name: (
        first_alarm_after_the_change(getattr(binary, name)(), rises),
        first_alarm_after_the_change(getattr(binary, name)(), falls),
        first_alarm_after_the_change(getattr(binary, name)(), [1 - bit for bit in rises]),
    )
    for name in ("DDM", "HDDMA", "HDDMW", "FHDDM")
}
for name, (rise, fall, inverted) in found.items():
    print(f"  {name:5}  errors rise: {rise}; errors fall: {fall}; errors rise, 1 = correct: {inverted}")
others = all(found[name][0] is not None for name in ("DDM", "HDDMA", "HDDMW"))
rise, fall, inverted = found["FHDDM"]
same = others and rise is None and fall is not None and inverted is not None
print("as found" if same else "CHANGED")
sys.exit(0 if same else 1)
PYTHON

python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check river==0.26.1
"$folder/venv/bin/python" "$folder/try.py"
