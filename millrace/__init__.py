"""The import root: ``from millrace.contracts.events.prediction import Prediction``.

The packages themselves lie beside this folder, which links to them; a wheel has them here. So an
installation adds one name to an environment, and none of `inference`, `trainer` or `contracts`,
which are other packages' names as well.
"""
