"""Counts sent, predicted, missing, doubled and mixed windows from topics alone.

```
source_windows  derives the windows that a source must yield
evidence        reads the topics from their beginning
checker         compares the source's windows with the evidence
fences          finds the fence of the ledger that applies to an offset
latency         time from edge to prediction
swaps           start and completion of each swap
```
"""
