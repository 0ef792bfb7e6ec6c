"""A training run.

```
job          job and result of a run, exchanged as files
runner       starts the process of a run and polls it
fit_process  the process of a run
run          the run inside its process: data, fit, gate, artefact
manifest     the archived records that a run learns from, with digests
repeat       repeats a recorded run and compares the artefact's digest
```
"""
