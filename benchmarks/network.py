"""A network of the real kind: ``python -m benchmarks.network ARCHITECTURE FILE`` saves its weights.

It has learned nothing, so it forecasts persistence: what a forecast costs is what matters here,
and its errors are steady, so that no detector has news. Saving is a program so that whoever
starts services need not load TensorFlow.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any, Final

import msgspec
from safetensors.numpy import save_file

from millrace.model_families.lstm_highway.forecaster import Architecture, build, weights_of

_SEED: Final = 4


def network(architecture: Architecture) -> Any:
    """Build a network, a Keras model."""
    import keras  # noqa: PLC0415  (TensorFlow, seconds: only where a network is built)

    keras.utils.set_random_seed(_SEED)
    return build(architecture)


def main() -> int:
    """Save the weights of a network, whose architecture is in a JSON file."""
    architecture = msgspec.json.decode(Path(sys.argv[1]).read_bytes(), type=Architecture)
    save_file(weights_of(network(architecture)), sys.argv[2])
    return 0


if __name__ == "__main__":
    sys.exit(main())
