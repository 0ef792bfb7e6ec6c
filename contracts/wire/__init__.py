"""Encoding of events as Kafka records, and decoding.

```
groups      names of the consumer groups
codec       JSON events as record values with CloudEvents headers
cut_letter  cuts dead letters that exceed the size limit of their topic
visible     escapes text of unknown origin for terminals, logs and pages
sizes       upper bound of a record's size before compression
messages    every kind of record that has a schema
schema      writes the JSON Schemas and the AsyncAPI document
asyncapi    the AsyncAPI document
```
"""
