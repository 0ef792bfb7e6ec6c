"""Memory of assets.

```
asset           memory of an asset, and its snapshot
recent_windows  latest windows of an asset, to detect duplicates
snapshots       the Faust table that keeps snapshots
```
"""
