"""What an earlier process has done.

```
history    reads outputs and ledger of an earlier process
positions  progress of each partition, recovered from the outputs
memory     reads the changelog of the table back, in batches
```
"""
