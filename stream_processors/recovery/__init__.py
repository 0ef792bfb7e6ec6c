"""Recovers the state of an earlier process.

```
history    reads outputs and ledger of an earlier process
positions  progress of each partition, recovered from the outputs
memory     recovers the table of asset memory from its changelog, in batches
```
"""
