"""Sources of readings.

```
source        the port of live sources: readings as they come
recording     the port of recordings: a table of readings, and its story
opening       opens a recording by path, `s3://` address or name
dataset       recorded files, described by a `dataset.toml`
description   the `dataset.toml`, checked
tables        CSV, gzipped CSV and Parquet files as tables
simulate      a simulated fleet of pumps
pump_physics  physical model of a simulated pump
known_events  ground truth of the simulated fleet
host          this machine's own sensors, live
defects       windows as broken devices send them, for tests
position      a place in a recording: the last window that was taken
```
"""
