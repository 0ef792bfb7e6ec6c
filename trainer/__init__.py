"""Trains model versions on drift, age, new data or request, and releases them.

```
scheduling/  when to train
runs/        a training run, and its separate process
data/        builds the dataset of a run, and splits it
learning/    fit and gate
release/     activation and rollback of versions
settings     its settings
```
"""
