"""A micro-batch, from input records to output records.

```
reading      decodes records; invalid ones become dead letters
results      results of a micro-batch, in input order
predictions  runs a version; forecasts in physical units
records      encodes predictions
fates        counts the records of a committed micro-batch by fate
```
"""
