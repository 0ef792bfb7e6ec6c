"""Destinations of a replay; each remembers how far every partition is, and takes a result once.

```
sink     the port
parts    a file of each batch of results, in a folder or under a prefix of the object store
merged   one Parquet file, made of the parts
topic    a Kafka topic, in transactions
opening  opens the destination that a user names
```
"""
