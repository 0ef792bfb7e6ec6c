"""Dead letters: read, select, retry.

```
letter   a dead letter and its state
topic    reads dead letters and their resolutions from Kafka
whole    the whole record of a truncated dead letter
content  decodes the bytes of a record for display
listing  dead letters as lines
sheet    all details of one dead letter
retry    selects the letters to retry, and resends their records
resend   producer that resends refused records, with confirmation
```
"""
