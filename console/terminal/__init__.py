"""How commands print.

```
output    tables and JSON on standard output
progress  what is being waited for
```
"""
