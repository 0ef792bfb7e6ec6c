"""User interface: command line, demonstration, report.

```
cli/         the commands
operations/  logic of the commands, as functions that return data
demo/        the demonstration and its report
terminal/    tables, JSON, progress and live view
```
"""
