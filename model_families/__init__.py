"""Kinds of models: each has a folder; artefacts are common to all.

```
family         the port of model families: operations of every kind of model
known          the available families
artefact       files of a model version: packed, published, fetched as untrusted data
tensors        packs files of tensors, and reads them as untrusted data
padding        batches padded to a few warmed sizes
examples       data of a fit: normalised windows with truth and weight
lstm_highway/  an LSTM beside a linear highway
```
"""
