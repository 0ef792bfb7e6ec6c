"""The demonstration: a story on a real system, checked and reported.

```
command          `millrace demo`
scenario         the story: source, expected events, pace
runner           runs the story, phase by phase
replay_plan      pace of the replay
edge_process     the edge that replays, as a process of its own
observer         follows the output topics
event_format     events as lines for people
kills            which programs are killed, and when
live_view        the panel on the terminal
scoreboard       errors of live, frozen and persistence forecasts, while they arrive
accuracy         the same errors over event time
frozen           forecasts of the first trained version for all windows
frozen_forecast  the process that makes them
summary          builds the report from evidence
report/          report.json, report.html and pictures
```
"""
