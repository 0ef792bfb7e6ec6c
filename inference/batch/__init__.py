"""A micro-batch, from records to records.

```
reading      decodes records; invalid ones become dead letters
results      results of a micro-batch, each in its place
predictions  forecasts of a version in physical units
records      encodes predictions
fates        what became of the records of a committed micro-batch
```
"""
