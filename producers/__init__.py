"""Edge producers: they cut readings into windows and send them to `sensor.windows`.

```
sources/      sources of readings: recordings, simulation, this machine
delivery/     delivers windows to Kafka, through a spool on disk or in memory
windows       cuts readings into windows, for a table or live
live          windows of a live source, which is read on a thread of its own
pacing        computes when the next window is due
send_loop     the loop that all edge commands share: window, due time, forwarder
session       one edge command: send loop, progress, clean stop, summary
run_watch     detects training runs in progress
record        encodes a window as a Kafka record
flush         delivers the windows that are left in spools
command_line  the commands `replay`, `simulate`, `host`, `flush`
```
"""
