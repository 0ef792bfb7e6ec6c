"""Drift detection on plain numbers, without I/O or clocks.

```
detectors/  the tests, on one signal and on many at once
selection   chooses the detectors of each signal, from the settings
monitor     the detectors of one asset: inputs, error, skill
policy      consequence of a finding: a training, or a warning
```
"""
