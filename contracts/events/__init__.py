"""The kinds of events, one per file, and the topic of each.

```
event              base of all kinds: type, topic, key, encoding
window             readings of an asset, as an edge sends them        sensor.windows
normalized_window  a window in the units of one version               sensor.windows.normalized
prediction         a forecast with its provenance                     predictions
outcome            a forecast joined with its truth                   outcomes
drift_alert        a finding of a drift detector                      drift.alerts
training           requests to train, records of runs        training.requests, training.runs
model_event        the log of the model registry                      model.events
ledger             which version serves from which source offset     serving.ledger
dead_letter        a refused record, with reason and origin           dead.letters
mended             which retry of a dead letter was accepted          dead.letters.mended
topic_epoch        incarnations and leader epochs of partitions       topic.epochs
```
"""
