"""The model registry as a fold of `model.events`. No I/O.

```
state      models, versions, and what serves
decisions  what declares a model
bounds     limits of what an event may contain
refusals   events that the fold refuses, with reasons
```
"""
