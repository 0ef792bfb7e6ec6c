"""Inference: stamped windows in, predictions out, in one transaction.

```
consumer      a micro-batch: read, predict, write and commit together
membership    a place in the consumer group: what is fetched, and gone back to
outputs       how far partitions have been answered, as the predictions tell
reading       records become windows, or dead letters, or nothing where they come twice
batches       which windows run together, on what size
answers       a record for each window, in its place, as it comes
predictions   what a version says: columns of numbers in physical units
records       the same as JSON with its provenance, a batch at a time
flights       a micro-batch is written while the next is fetched and forecast
transactions  committed, undone, or unsure
patience      what passes is waited out
servables     versions that can predict, by model and number
loader        loads, verifies and warms versions in the background
network       one compiled function per architecture and batch size
```
"""
