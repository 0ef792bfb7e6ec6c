"""Kafka transport: Faust's consumer at batch granularity, and confirmed writes.

```
batching       delivers a poll's records of a partition to Faust as one message
fetching       the fetch thread: whole record batches from aiokafka
pinned         the version of aiokafka whose internals are replaced
leader_epochs  leader epochs of fetched batches
lineages       incarnations of the assigned partitions
fetched_range  offset range that is read during an assignment of a partition
batch_queue    queue of batches between agent and worker
outputs        confirmed writes
records        protocol of a record
```
"""
