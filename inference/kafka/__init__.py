"""Group membership and transactions of a replica.

```
membership       a replica's assignment: fetches, and rewinds to committed offsets
commit_pipeline  commits a micro-batch while the next one is predicted
transactions     one transaction: committed, undone, or unsure
```
"""
