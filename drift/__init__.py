"""Drift: what changed, decided from numbers alone. No I/O, no clocks.

```
page_hinkley        river's detector on one signal, with evidence and plain-number state
lanes               many signals: their values laid end to end, cut into blocks
page_hinkley_lanes  the same test over many lanes at once, bit for bit
adwin_lanes         ADWIN over many lanes at once; river's alarms, bounded memory
├ adwin_buckets       the window's buckets, and how they grow
└ adwin_borders       its checks: is there a border with different means on its sides?
monitor             an asset's detectors: inputs (by the batch), error, skill
policy              which finding asks for what
```
"""
