"""Inference: stamped windows in, predictions out, in one transaction.

```
consumer  the loop: fetch, predict, write, commit
batch/    a micro-batch: decode, group, predict, encode
serving/  versions that can predict, and how they are loaded
kafka/    group membership and transactions
metrics   metrics
```
"""
