"""A network of the real architecture: ``python -m benchmarks.network SPEC FILE`` saves its weights.

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

from contracts.model_spec import ModelSpec
from infra.forecaster import architecture_of, build, weights_of

_SEED: Final = 4


def network(spec: ModelSpec) -> Any:
    """Build a task's network, a Keras model."""
    import keras  # noqa: PLC0415  (TensorFlow, seconds: only where a network is built)

    keras.utils.set_random_seed(_SEED)
    return build(architecture_of(spec))


def main() -> int:
    """Save the weights of the network of a task, which is in a JSON file."""
    spec = msgspec.json.decode(Path(sys.argv[1]).read_bytes(), type=ModelSpec)
    save_file(weights_of(network(spec)), sys.argv[2])
    return 0


if __name__ == "__main__":
    sys.exit(main())
