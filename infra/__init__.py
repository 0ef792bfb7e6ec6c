"""One module per external system: Kafka, the object store, telemetry, settings, the servers."""
