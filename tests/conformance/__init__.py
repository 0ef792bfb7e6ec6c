"""One suite per port, which every implementation passes.

```
test_detectors  drift detectors: ours in lanes, one by one, and every one of river's
```
"""
