"""Encodes and decodes Kafka record batches; no other package knows their byte format.

```
unpacking       decodes the records of a record batch
packing         encodes records for a record batch
record_batches  builds and compresses record batches on a thread
batch_header    layout of a record batch's header, and its checksum
decompression   decompression with a bound on memory
```
"""
