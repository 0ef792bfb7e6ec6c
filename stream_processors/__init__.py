"""The stream processor: one Faust app between the edge and inference.

```
app          Faust: topics, table, agent, and what happens when partitions move
processor    a batch of windows or predictions, from records to outputs
gathering    messages that came together
verdicts     what became of a batch, row by row
parts        records of several partitions that are worked off together
records      what is read of a record, and where it is
forms        which records are windows by their form
validation   which of those a model reads
stamps       which version a window is stamped with, and the fences in the ledger
asset        what is remembered of an asset, and its snapshot
forecasts    forecasts that wait for their truth
alerts       findings of detectors as alerts for people and the trainer
history      what an earlier life has left on the broker
retries      records that were sent again: one of each first origin is taken
packing      records as a record batch holds them
outputs      writes that are confirmed before anything is acknowledged
batching     Faust's transport at batch granularity
```
"""
