"""Fit and gate.

```
learn        fits a challenger on a dataset and evaluates it against the champion
gate         compares errors on the hold-out; a verdict with reasons
improvement  size and certainty of an improvement
```
"""
