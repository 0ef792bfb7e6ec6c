"""Versions that can predict.

```
servables  loaded versions, by model and number
loader     fetches, verifies and warms versions in the background
batches    groups windows by version
networks   runtimes by architecture
```
"""
