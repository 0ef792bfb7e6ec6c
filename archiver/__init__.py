"""The archiver: topics in, Parquet objects in the object store out.

```
archiving     reads topics and writes objects; commits what is stored
buffer        records of a partition that wait for their object
starts        where reading begins after an assignment
incarnations  incarnations of the partitions that are read
merger        merges small objects, on a thread
merge_plan    decides which objects are merged
awaited_runs  whether a training run waits for the archive
settings      its settings
```
"""
