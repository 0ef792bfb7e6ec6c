"""Kinds of models: each has a folder; artefacts are common to all.

```
artefact       files of a model version: packed, published, fetched as untrusted data
lstm_highway/  an LSTM beside a linear highway
```
"""
