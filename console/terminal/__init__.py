"""Output of commands.

```
output    tables and JSON on standard output
progress  shows what a command is waiting for
```
"""
