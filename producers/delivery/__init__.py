"""Delivery of windows to Kafka: each once, in order per asset.

```
outbox        the interface of the two deliveries
sender        delivery from memory
forwarder     delivery through a spool on disk, which survives crashes and outages
open_forwarder  opens one of the two
sqlite_spool  the spool: a first-in, first-out queue in SQLite
spool_folder  location, owner and lock of a spool
backlog       spooled records that are not produced yet
in_flight     records that are produced and not confirmed yet
confirmed     how far the broker has confirmed a spool
absence       whether the broker is away
greeting      checks topic and model before the first window is sent
```
"""
