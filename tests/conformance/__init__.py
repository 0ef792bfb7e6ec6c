"""One suite per port, which every implementation passes.

```
pages           examples of docs/ports, made from the pages
test_detectors  drift detectors: ours in lanes, one by one, and every one of river's
test_model_families  model families: the LSTM, and the page's own
test_spools     spools: on disk, in memory, and the page's own file
test_sources    live sources: this machine, and the page's two tanks
test_sinks      destinations of a replay: a file, objects, a topic
```
"""
