"""Logic of the commands, as functions that return data.

```
status         programs, versions, topics, lag and balance of a system
models         the registry: versions, refused events; declarations, requests to train
datasets       declares the model of a dataset
topics         the declared topics: settings, creation, more partitions
drift          drift alerts
replay         replays: plans, runs, verification
compare        compares two versions on past windows
what_if        what other drift detectors would have found
score          scores a recording with a version
archive/       the archive: contents, completeness, integrity, export
dead_letters/  dead letters: read, select, retry
accounts       balance of each service, from its metrics
lags           lag of each consumer group
moments        parses the times that commands take
topic_tail     last records of a topic, then new ones
```
"""
