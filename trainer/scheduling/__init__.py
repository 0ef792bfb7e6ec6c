"""When to train.

```
loop      the trainer's loop: reads topics, starts runs, publishes verdicts
journal   the trainer's state, folded from topics
triggers  decides which requests are made, and which may start
```
"""
