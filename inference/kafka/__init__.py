"""Group membership and transactions of a replica.

```
membership       what a replica owns, fetches and seeks back to
commit_pipeline  commits one micro-batch while the next is predicted
transactions     one transaction: committed, undone, or unsure
```
"""
