"""Output of commands.

```
output    tables and JSON on standard output
progress  shows what a command is waiting for
sparkline  numbers as a line of characters
done      shows how much of long work is done
```
"""
