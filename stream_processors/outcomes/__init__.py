"""Joins predictions with their truth, which arrives later.

```
forecasts          open forecasts of an asset, and their readings
join_task          parameters of the join, derived from a model spec
stored_prediction  a compact copy of a prediction, kept until its truth arrives
readings           readings that open forecasts need
outcome            builds outcomes: errors in standard deviations
early_predictions  reorder buffer for predictions that arrive before their windows
```
"""
