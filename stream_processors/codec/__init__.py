"""Kafka record batches, encoded and decoded. Only this room knows their bytes.

```
unpacking       records out of a record batch
packing         records into a record batch
record_batches  builds and compresses record batches on a thread
batch_header    header of a record batch, and its checksum
decompression   decompression with a bound on memory
```
"""
