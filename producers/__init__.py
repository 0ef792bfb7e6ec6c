"""Edge producers: readings become windows in `sensor.windows`.

```
sources/      where readings come from
delivery/     how windows get to Kafka, with or without a spool
windows       cuts readings into windows, for a table or live
live          windows of a live source, which is read on a thread of its own
pacing        when the next window is due
send_loop     the loop that all edge commands share: window, due time, forwarder
session       one edge command: send loop, progress, clean stop, summary
run_watch     whether a training run is in progress
record        a window as a Kafka record
flush         delivers what waits in spools
command_line  the commands `replay`, `simulate`, `host`, `flush`
```
"""
