"""Turns drift, age, new data and requests into better model versions, and releases them.

```
archiver       sensor.windows, predictions, outcomes → Parquet in the object store
archive        which objects there are, and what is in them
manifest       exactly the records that a run learned from
dataset        archived windows joined with their truth, as arrays
triggers       which alerts, ages and new data become requests, and when they may start
runner, run    one run: a fit in a process of its own, its record, its events
fit, gate      the model's own part: learning, and judging champion against challenger
release        when an approved version is activated, and when a broken one is rolled back
```
"""
