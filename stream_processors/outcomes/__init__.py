"""Joins predictions with the truth that comes later.

```
forecasts          open forecasts of an asset, and their readings
join_task          what the join needs to know of a model's task
stored_prediction  a compact copy of a prediction, kept until its truth arrives
readings           readings that open forecasts need
outcome            an outcome: errors in standard deviations
early_predictions  predictions that arrive before their windows
```
"""
