"""Contracts between the services: events, names, units, errors. No I/O.

```
events/         one file for each kind of event
wire/           how events become records: encodings, sizes, groups, schemas
model_spec      a forecasting task: sensors, window, horizon, targets
normaliser      units of a model version: physical readings to inputs, and back
missing         the rule for missing readings
source          coordinates of the record from which another one is derived
ids             deterministic identifiers
names           bounds on names: assets, sensors, segments, models
path_names      patterns of names that become paths or object keys
headers         CloudEvents attributes as Kafka headers
topics          the topics: name, key, encoding, retention
clock           wall clock; event time as moments
moment          a time in an event, with its zone
errors          errors with a message for people
invalid_record  a record that cannot be used, as a value
```
"""
