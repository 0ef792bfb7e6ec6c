"""Dead letters: list, show, retry.

```
letter   a dead letter and its state
topic    reads dead letters and their resolutions from Kafka
whole    the whole record of a cut dead letter
content  the bytes of a record, for people
listing  `millrace dead-letters list`
show     `millrace dead-letters show`
retry    `millrace dead-letters retry`
resend   sends refused records again, with confirmation
```
"""
