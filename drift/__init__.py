"""Drift: what changed, decided from numbers alone. No I/O, no clocks.

```
page_hinkley  river's detector, with evidence and plain-number state
monitor       an asset's detectors: inputs, error, skill
policy        which finding asks for what
```
"""
