"""Dead letters: read, choose, send again.

```
letter   a dead letter and its state
topic    reads dead letters and their resolutions from Kafka
whole    the whole record of a cut dead letter
content  the bytes of a record, for people
listing  dead letters as lines
sheet    everything about one dead letter
retry    decides what is sent again, and sends it
resend   sends refused records again, with confirmation
```
"""
