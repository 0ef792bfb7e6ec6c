"""The model registry as a fold of `model.events`. No I/O.

```
state     models, versions, and what serves; the decisions to declare and to release
bounds    limits of what an event may contain
refusals  events that the fold refuses, with reasons
```
"""
