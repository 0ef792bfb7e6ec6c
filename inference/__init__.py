"""Inference: stamped windows in, predictions out, in one transaction.

```
consumer     a micro-batch: read, predict, write and commit together
batches      which windows run together, on what size
servables    versions that can predict, by model and number
loader       loads, verifies and warms versions in the background
network      one compiled function per architecture and batch size
predictions  what a version says, with its provenance
```
"""
