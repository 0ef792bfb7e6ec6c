"""The model registry as a fold of `model.events`, without I/O.

```
state      models, versions and serving epochs
decisions  events that declare a model
bounds     limits of what an event may contain
refusals   events that the fold refuses, with reasons
```
"""
