"""What the services agree on: events, topics, ids, units. No I/O.

```
model_spec        what a model reads and forecasts
window            readings as the edge sends them       (topic sensor.windows)
missing           the rule for missing readings
normaliser        a version's units
normalized_window a stamped window                      (sensor.windows.normalized)
prediction        a forecast with its provenance        (predictions)
outcome           a forecast and its truth              (outcomes)
drift_alert       a detector's finding                  (drift.alerts)
training          requests and runs                     (training.requests, training.runs)
model_event       the registry's log                    (model.events)
registry          ... and its fold
ledger            which version served from where       (serving.ledger)
dead_letter       what could not be used                (dead.letters)
mended            what was taken of it in the end       (dead.letters.mended)
moment            a time in an event
messages          the records that have a schema
asyncapi          ... as an AsyncAPI document
schema            ... in files, generated
```
"""
