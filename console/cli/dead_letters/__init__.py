"""The commands `millrace dead-letters`.

```
listing  `list`
show     `show`
retry    `retry`
```
"""
