"""The stream processor: one Faust app between the edge and inference.

```
app         the Faust app: topics, table, agent, rebalances, acknowledgement
processor   processes one batch, from records to outputs
transport/  reads record batches, writes with confirmation
codec/      record batches, encoded and decoded
windows/    decodes, validates, stamps and normalises windows
outcomes/   joins predictions with their truth
state/      memory of an asset, and its snapshots
recovery/   recovers the state of an earlier process: progress, dead letters, memory
monitoring  feeds drift detectors and the join; writes alerts and outcomes
alerts      builds drift alerts from detectors' findings
rows        selects rows of NumPy blocks
metrics     counters
```
"""
