"""Turns drift, age, new data and requests into better model versions, and releases them.

```
archiver            sensor.windows, predictions, outcomes → Parquet in the object store
archive             how an object of the archive is named, written and read

loop                topics → runs → verdicts; what is published when
journal             its memory, folded from the topics
triggers            which alarms, ages and data become requests, and when they may start
runner, job         a run's process as seen from outside, and what it is told
fit_process, run    the same from inside: data, fit, gate, artefact, result
catalogue           what is archived: the index, and what was written after it (archive_index)
merger              small objects → large ones, beside the archiver (merge_plan)
starts              where the archiver begins to read after an assignment
manifest, dataset   exactly the records that a run learns from, joined with their truth
learn               split → units → fit → gate
split, examples, highway, fit, gate    a step each
repeat              a recorded run made again, to compare digests

release             when an approved version is activated, or a broken one rolled back
release_controller  the thread that carries it out
replicas            who is live
```
"""
