"""The archiver: consumes topics and writes Parquet objects to the object store.

```
archiving     reads topics and writes objects; commits the offsets of stored records
buffer        buffered records of a partition, not stored yet
starts        finds the start position of each partition after an assignment
incarnations  incarnations of the partitions that are read
merger        merges small objects, on a thread
merge_plan    decides which objects are merged
awaited_runs  detects training runs that are waiting for the archive
settings      its settings
```
"""
