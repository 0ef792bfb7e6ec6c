"""The archive: records of topics as Parquet objects in the object store.

```
objects     an object: its key, its encoding and decoding
index       the index of a partition's merged objects
catalogue   all objects of a partition: index plus newer objects
gaps        positions that the archive lacks, and why
digest      digest of records, whatever objects they are stored in
continuity  gaps and overlaps between objects
```
"""
