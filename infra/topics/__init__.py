"""Topics on the brokers.

```
admin          creates the declared topics, checks existing ones
settings       compares settings of topics with what the guarantees need
ids            queries topic ids: a topic created anew has another one
epochs         incarnations of partitions: follows and writes `topic.epochs`
leader_epochs  reads leader epochs from logs
partitions     number of partitions of the topics keyed by asset, and how it grows
```
"""
