"""Kinds of models: each has a folder; artefacts are common to all.

```
family         the port: what every kind of model does
known          the families that there are
artefact       files of a model version: packed, published, fetched as untrusted data
tensors        files of tensors: packed, and read as untrusted
padding        batches padded to a few warmed sizes
examples       what a fit learns from: normalised windows with truth and weight
lstm_highway/  an LSTM beside a linear highway
```
"""
