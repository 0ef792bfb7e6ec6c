"""The demonstration: runs a scenario on a real system, checks it and reports.

```
command          `millrace demo`
scenario         the scenario: source, expected events, pace
runner           runs the scenario, phase by phase
replay_plan      pace of the replay
edge_process     the replaying edge, as a separate process
observer         consumes the output topics
event_format     formats events as lines
kills            programs to kill, and when
live_view        the panel on the terminal
scoreboard       errors of live, frozen and persistence forecasts, as they arrive
accuracy         the same errors over event time
frozen           forecasts of the first trained version for all windows
frozen_forecast  the process that computes them
summary          builds the report from evidence
report/          report.json, report.html and pictures
```
"""
