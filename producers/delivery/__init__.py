"""Delivery of windows to Kafka: each once, in order per asset.

```
forwarder        delivers windows through a spool
open_forwarder   opens a spool and its forwarder
spool            the port of spools: a first-in, first-out queue
sqlite_spool     a spool on disk, which survives crashes and outages
memory_spool     a spool in memory, lost with the process
spool_folder     location, owner and lock of a spool
backlog          spooled records that are not produced yet
in_flight        records that are produced and not confirmed yet
confirmed        file with the number up to which a spool is confirmed
outage_detector  detects whether the broker is unavailable
handshake        checks topic and model before the first window is sent
```
"""
