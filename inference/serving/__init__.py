"""Loads versions, and provides those that can predict.

```
servables     loaded versions by model and number, and their states
loader        loads versions in the background, and reports them
load_version  fetches, verifies and warms a version
batches       groups windows by version
platform      name of the platform, which decides about the last bits
networks      compiled networks by architecture
```
"""
