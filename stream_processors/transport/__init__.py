"""Record batches in, confirmed records out. Only this room knows packed headers.

```
batching        Faust's consumer at batch granularity
fetching        the fetch thread: whole record batches from aiokafka
unpacking       records out of a record batch
packing         records into a record batch
record_batches  builds and compresses record batches on a thread
batch_header    header of a record batch, and its checksum
decompression   decompression with a bound on memory
leader_epochs   leader epochs of fetched batches
readable        offset range that is read in this ownership of a partition
gathering       queue of batches between agent and worker
outputs         confirmed writes
records         a record, and functions on it
```
"""
