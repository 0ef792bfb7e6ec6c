"""Kafka clients.

```
place       a partition of a topic
clients     librdkafka clients with the settings on which our guarantees rest
faust       connection settings for aiokafka, on which Faust is built
handshake   the first question to a broker, so that a refusal is one clear sentence
refusals    why a server refuses us, in words
publisher   writes events and waits until the broker has them
model_feed  follows `model.events` and folds the registry
log_reader  reads topics without a group: to the end, over ranges, for ever
errors      judges errors: transient, forbidden, end of partition, …
retry       retries of transient errors
batch_end   end of a record batch that cannot be decompressed
```
"""
