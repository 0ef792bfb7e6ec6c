"""The forecaster: an LSTM beside a linear highway.

```
family      implementation of the port of model families
forecaster  architecture, Keras network, weights, change of units
highway     the linear part, solved in closed form
fit         the fit of the network
runtime     the network for serving: traced once, weights as arguments
```
"""
