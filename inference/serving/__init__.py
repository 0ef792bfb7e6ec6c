"""Loads versions, and provides those that can predict.

```
servables  loaded versions by model and number, and their states
loader     fetches, verifies and warms versions in the background
batches    groups windows by version
networks   compiled networks by architecture
```
"""
