"""When to train.

```
loop      the trainer's loop: topics in, runs started, verdicts published
journal   the trainer's memory, folded from topics
triggers  decides which requests are made, and which may start
```
"""
