"""Versions that can predict.

```
servables  loaded versions, by model and number
loader     fetches, verifies and warms versions in the background
batches    groups windows by version, pads them to compiled sizes
network    one compiled function per architecture and batch size
```
"""
