"""Fit and gate.

```
learn        a dataset and the serving version in, a challenger and a verdict out
gate         compares errors on the hold-out; reasons with the verdict
improvement  size and certainty of an improvement
```
"""
