"""Faust's consumer at batch granularity, and confirmed writes.

```
batching       Faust's consumer at batch granularity
fetching       the fetch thread: whole record batches from aiokafka
pinned         the version of aiokafka whose internals are replaced
leader_epochs  leader epochs of fetched batches
lineages       incarnations of the partitions that are owned
fetched_range  offset range that is read in this ownership of a partition
batch_queue    queue of batches between agent and worker
outputs        confirmed writes
records        a record, and functions on it
```
"""
