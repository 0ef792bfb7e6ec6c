"""Drift detection from numbers alone. No I/O, no clocks.

```
detectors/  the tests, for one signal and for many at once
selection   which detectors run on which signal, from the settings
monitor     the detectors of one asset: inputs, error, skill
policy      what a finding asks for: a training, or a look by a person
```
"""
