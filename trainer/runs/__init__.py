"""A training run.

```
job          what a run is told, and what it answers
runner       starts the process of a run and follows it
fit_process  the process of a run
run          the run inside its process: data, fit, gate, artefact
manifest     the archived records that a run learns from, with digests
repeat       repeats a recorded run and compares digests
```
"""
