"""Inference: reads stamped windows and writes predictions, in one transaction.

```
consumer  the loop: fetch, predict, write, commit
batch/    a micro-batch: decode, group, predict, encode
serving/  loads versions, and provides those that can predict
kafka/    group membership and transactions
metrics   Prometheus metrics
```
"""
