"""What people touch: command line, demonstration, report.

```
cli/         the commands
operations/  what commands do, as functions that return data
demo/        the demonstration
terminal/    tables, JSON, progress and live view
```
"""
