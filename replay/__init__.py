"""Replay: any stretch of the past again, through the functions that serve live.

```
plan       a replay: positions, versions, destination
versions   the versions that windows run on: as served, or one that is named
origin     the port: where records come from
past       the past of a system: histories of topics, registry, ledger
dataset    windows of a file or of a recording
records    archived records, as the stream processor validates them
pipeline   validates, stamps, normalises and predicts, in bulk
results    predictions as a table, or as records
sinks/     destinations: a file, objects, a topic
job        replays a partition, from where it was
what_if    what other drift detectors would have found
published  published predictions, in the order of their windows
verify     compares predictions as served with those that were published
worker     the process of some partitions, and its messages
workers    runs worker processes side by side
```
"""
