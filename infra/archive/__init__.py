"""The archive: records of topics as Parquet objects in the object store.

```
objects     names of objects: topic, partition, date, positions
parquet     content of an object: encoding, decoding, merging
index       the index of a partition's merged objects
catalogue   all objects of a partition: index plus newer objects
gaps        positions that the archive lacks, and why
side_files  reads and writes index and gaps under their present and former names
digest      digest of records, whatever objects they are stored in
continuity  gaps and overlaps between objects
footers     number and time of an object's records
history     all records of a topic, archived or not
topic_log   records of a topic that are not archived yet
```
"""
