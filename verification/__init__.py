"""Counts sent, predicted, missing, doubled and mixed windows from topics alone.

```
source_windows  the windows that a source must yield
evidence        reads the topics from their beginning
checker         compares both
fences          which fence of the ledger an offset lies behind
latency         time from edge to prediction
swaps           when each swap began and was complete
```
"""
