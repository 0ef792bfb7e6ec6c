"""The forecaster: an LSTM beside a linear highway.

```
family      the port's view of them
forecaster  architecture, Keras network, weights, change of units
highway     the linear part, solved in closed form
fit         the fit of the network
runtime     the network as it serves: traced once, weights as arguments
```
"""
