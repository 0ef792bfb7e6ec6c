"""What a run learns from.

```
dataset   archived windows and outcomes as arrays
examples  normalised windows with truth and weight
split     rows for training, early stopping and hold-out, by time
```
"""
