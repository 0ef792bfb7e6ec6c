"""What people touch: the command line, the demonstration and its report.

```
cli               the `millrace` command             (missing_modules)
system            starts and stops everything        (lock, programs, supervisor, address)
demo              the demonstration                  (replay, observer, kills, live_view)
evidence          what the topics say, read by the checker
source_windows    which windows a source must yield, derived from its frame alone
checker           sent, predicted, missing, duplicated, mixed
accuracy          live, frozen and persistence errors over event time
latency           edge to prediction, around each swap
memory            peak memory per program
report            report.json, report.html
```
"""
