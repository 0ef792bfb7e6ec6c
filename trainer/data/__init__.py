"""What a run learns from.

```
dataset  archived windows and outcomes as arrays
split    rows for training, early stopping and hold-out, by time
```
"""
