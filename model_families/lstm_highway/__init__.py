"""The forecaster: an LSTM beside a linear highway.

```
forecaster  architecture, Keras network, weights, change of units
highway     the linear part, solved in closed form
```
"""
