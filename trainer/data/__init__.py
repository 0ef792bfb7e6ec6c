"""Training data of a run.

```
dataset  archived windows and outcomes as arrays
split    rows for training, early stopping and hold-out, by time
```
"""
