"""Activation and rollback of versions.

```
decide      decides from registry and live replicas
controller  carries decisions out, in a thread
replicas    live inference replicas
```
"""
