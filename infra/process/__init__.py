"""Parts of every service process.

```
service            runs a service: settings, logs, signals, health, exit status
exit_status        exit statuses of all services
logs               structured logs without secrets
telemetry          /metrics, /healthz and /readyz
servers            waits at start-up until servers, topics and partitions are available
watchdog           ends a process that makes no progress
stalls             decides from a group's offsets whether a process is stuck
suspend_guard      ends a process that was suspended while others took over its work
guard_thread       a thread that checks its own process periodically
partition_watch    ends a process when topics have got more partitions
shutdown_deadline  ends a process that does not shut down in time
parent             ends a child process with its parent
error_line         prints an error as one line
fault_points       named places at which tests inject faults
```
"""
