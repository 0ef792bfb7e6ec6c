"""The archiver: consumes the topics of record and writes Parquet objects to the object store.

```
archiving     reads topics and writes objects; commits the offsets of stored records
buffer        buffered records of a partition, not stored yet; cuts them into objects
starts        finds the start position of each partition after an assignment
incarnations  incarnations of the partitions that are read
merger        merges small objects and removes old ones, on a thread
merge_plan    decides which objects are merged
retention     decides which objects are too old
awaited_runs  detects training runs that are waiting for the archive
settings      its settings
```
"""
