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
position       a place in a recording
record         a window as a record
outbox         what the loop hands windows to: one of
sender         ... windows → Kafka from memory, nothing silently lost
forwarder      ... windows → spool → Kafka, nothing lost
spool          records on disk, first in, first out
confirmed      ... and how far the broker has them
spool_folder   whose a spool is, and that one edge uses it
backlog        spooled, and to be produced
in_flight      produced, and to be confirmed
absence        whether the broker is away
greeting       topic there, model declared, before the first window goes out
open_outbox    opens one or the other
session        one command's work: windows, pace, progress, summary
replay         ... its loop
flush          sends what waits in spools
defects        windows as broken devices send them
command_line   `replay`, `simulate`, `host`, `flush`
```
"""
