"""Edge producers: sources of readings become windows in `sensor.windows`.

```
recording      what a source of recorded readings offers
description    dataset.toml, checked
tables         files and objects, as tables
dataset        ... together a recording
simulate       the simulated fleet, a recording whose every drift is known
pump_physics   ... how its pumps behave
known_events   ... and what happens to them
host           this machine's own sensors, live
source         opens a recording by name
windows        readings → windows
pacing         when a window is due
run_watch      whether a training run is in progress
sender         windows → Kafka, nothing silently lost
session        one command's work: model, windows, pace, summary
replay         ... for recordings
defects        windows as broken devices send them
command_line   `replay`, `simulate`, `host`
```
"""
