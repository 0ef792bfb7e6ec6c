"""The stream processor: one Faust app between the edge and inference.

```
app         the Faust app: topics, table, agents, rebalances, acknowledgement
processor   a batch, from records to outputs
transport/  reads record batches, writes with confirmation
codec/      record batches, encoded and decoded
windows/    decodes, validates, stamps and normalises windows
outcomes/   joins predictions with their truth
state/      memory of an asset, and its snapshots
recovery/   what an earlier process has done: progress, incarnations, memory
monitoring  feeds drift detectors and joins; writes alerts and outcomes
alerts      findings as drift alerts
rows        row arithmetic on blocks of numbers
metrics     counters
```
"""
