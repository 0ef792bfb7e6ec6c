"""Drift, age, new data and requests become better model versions, which are released.

```
scheduling/  when to train
runs/        a training run, and the process it has for itself
data/        what a run learns from
learning/    fit and gate
release/     activation and rollback of versions
settings     its settings
```
"""
