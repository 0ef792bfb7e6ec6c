"""Kafka clients.

```
place            a partition of a topic
clients          librdkafka clients with the settings that the guarantees depend on
faust            connection settings for aiokafka, on which Faust is built
handshake        first request to a broker; reports a refusal as one clear sentence
refusals         explains in words why a server refuses a client
publisher        publishes events and waits for delivery
model_feed       follows `model.events` and folds the registry
log_reader       reads topics without a group: to the end, over ranges, or continuously
errors           classifies errors: transient, forbidden, end of partition, …
retry            retries of transient errors
batch_end        finds the end of a record batch that cannot be decompressed
message_headers  reads headers, also with names that are not UTF-8
```
"""
