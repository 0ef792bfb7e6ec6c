"""The archive: contents, completeness, integrity, export.

```
listing        partitions of the archive, as lines
verify         finds records that are missing, doubled or altered
reading        reads records of a partition, while objects are merged
event_columns  columns of a kind of event, from its struct
topic_rows     rows of a topic's records
export         writes a topic's records into a file, decoded
export_file    the file that an export writes: Parquet or CSV
```
"""
