"""What commands do, as functions that return data.

```
models      the registry: versions, refused events; requests to train
accounts    balance of each service, from its metrics
lags        lag of each consumer group
topic_tail  last records of a topic, then new ones
```
"""
