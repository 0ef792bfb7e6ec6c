"""The forecasting network: builds a Keras model from an `Architecture` (plain data).

It maps a window and its sensors' presence to a forecast in the same normalised units:

```
window  (batch, window, sensors) ──► centre: subtract each sensor's last value, mask absent ones
presence (batch, sensors) ──┐          │
                            │          ├──► highway: one linear layer ──────────────┐
                            └──────────┴──► patches ──► LSTM ──► head ──────────────┤
last value of each target sensor ───────────────────────────────────────────────────┴─► sum
                                                              (batch, steps, targets)
```

Highway and head start at zero, so an untrained network forecasts persistence.
Centring makes it invariant to the level of a sensor, and so to a harmless shift of one
(reversible instance normalisation, Kim et al., ICLR 2022); the linear highway beside the
recurrent part is LSTNet's (Lai et al., SIGIR 2018). Consecutive samples are grouped into
patches, because a recurrent step costs the same whatever its width.

Artefacts are untrusted, so a network is described only by numbers within limits. TensorFlow is
imported by `build`, not by this module.

>>> Architecture(window=60, sensors=4, steps=1, targets=(0, 1)).patch
3
"""

from collections.abc import Mapping
from typing import Annotated, Any, Final, Literal

import msgspec
import numpy as np
import numpy.typing as npt

from millrace.contracts.errors import DataError
from millrace.contracts.model_spec import ModelSpec
from millrace.contracts.normaliser import Normaliser
from millrace.model_families.family import Weights

#: Steps of the LSTM at most; longer windows make wider patches.
MAX_RECURRENT_STEPS: Final = 24
#: Variables of the network at most; a larger architecture is refused before it is built.
MAX_PARAMETERS: Final = 5_000_000

KIND: Final = "lstm-highway-1"
HIGHWAY: Final = "highway/kernel"
LSTM_KERNEL: Final = "lstm/lstm_cell/kernel"
HEAD_KERNEL: Final = "head/kernel"
HEAD_BIAS: Final = "head/bias"

Size = Annotated[int, msgspec.Meta(ge=1, le=4096)]


class Architecture(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Architecture of the network; JSON in an artefact.

    Attributes:
        window: Samples of an input window.
        sensors: Sensors of an input window.
        steps: Rows of a forecast: 1, or the horizon.
        targets: Column of each forecast sensor, in the order of a forecast's columns.
        units: Width of the LSTM.
        kind: The only kind so far, so that an artefact of a later kind is recognised.

    Raises:
        DataError: A target is not a sensor, or the network would be too large.
    """

    window: Size
    sensors: Size
    steps: Size
    targets: tuple[int, ...]
    units: Size = 24
    kind: Literal["lstm-highway-1"] = "lstm-highway-1"

    def __post_init__(self) -> None:
        """Check the constraints that types cannot express."""
        columns = set(self.targets)
        if not columns or len(columns) != len(self.targets):
            raise DataError(f"architecture: targets must be named, each once; got {self.targets}")
        if min(columns) < 0 or max(columns) >= self.sensors:
            raise DataError(f"architecture: targets {self.targets} of {self.sensors} sensors")
        if self.parameters > MAX_PARAMETERS:
            raise DataError(
                f"architecture: {self.parameters} variables; at most {MAX_PARAMETERS} are allowed."
                " Shorten the window or the horizon, or forecast fewer sensors"
            )

    @property
    def patch(self) -> int:
        """Consecutive samples in one step of the LSTM."""
        return -(-self.window // MAX_RECURRENT_STEPS)

    @property
    def recurrent_steps(self) -> int:
        """Steps of the LSTM; the first patch is padded with zeros at its start."""
        return -(-self.window // self.patch)

    @property
    def outputs(self) -> int:
        """Numbers in a forecast."""
        return self.steps * len(self.targets)

    @property
    def parameters(self) -> int:
        """Number of variables of the network."""
        recurrent = 4 * self.units * (self.patch * self.sensors + self.sensors + self.units + 1)
        highway = self.window * self.sensors * self.outputs
        return recurrent + highway + (self.units + 1) * self.outputs


def architecture_of(spec: ModelSpec) -> Architecture:
    """Choose the network of a forecasting task."""
    return Architecture(
        window=spec.window,
        sensors=len(spec.sensors),
        steps=spec.steps,
        targets=spec.target_columns,
    )


def read_architecture(values: Mapping[str, Any]) -> Architecture:
    """Read an artefact's architecture.

    Raises:
        DataError: This program cannot build it.
    """
    try:
        return msgspec.convert(dict(values), Architecture)
    except msgspec.ValidationError as error:
        raise DataError(f"architecture that this program cannot build: {error}") from error


def build(architecture: Architecture, *, dropout: float = 0.0) -> Any:
    """Build the network, with every variable fresh.

    Args:
        architecture: Its architecture.
        dropout: Share of the LSTM's outputs that a training step drops; it adds no variables
            that serving needs, so serve with 0.

    Returns:
        A ``keras.Model``: inputs float32 (batch, window, sensors) and float32 presence
        (batch, sensors), both normalised; output float32 (batch, steps, targets).
    """
    import keras  # noqa: PLC0415  (TensorFlow, seconds: only where a network is built)

    a = architecture
    columns = list(a.targets)
    window = keras.Input((a.window, a.sensors), name="window")
    presence = keras.Input((a.sensors,), name="presence")
    last = window[:, -1:, :]
    centred = (window - last) * presence[:, None, :]

    linear = keras.layers.Dense(
        a.outputs, use_bias=False, kernel_initializer="zeros", name="highway"
    )(keras.ops.reshape(centred, (-1, a.window * a.sensors)))

    padding = a.recurrent_steps * a.patch - a.window
    padded = keras.ops.pad(centred, ((0, 0), (padding, 0), (0, 0))) if padding else centred
    patches = keras.ops.reshape(padded, (-1, a.recurrent_steps, a.patch * a.sensors))
    masks = keras.ops.repeat(presence[:, None, :], a.recurrent_steps, axis=1)
    steps = keras.ops.concatenate([patches, masks], axis=-1)
    state = keras.layers.LSTM(a.units, unroll=True, name="lstm")(steps)
    if dropout:
        state = keras.layers.Dropout(dropout, name="dropout")(state)
    recurrent = keras.layers.Dense(a.outputs, kernel_initializer="zeros", name="head")(state)

    change = keras.ops.reshape(linear + recurrent, (-1, a.steps, len(columns)))
    forecast = change + keras.ops.take(last, columns, axis=2)
    return keras.Model([window, presence], forecast, name="forecaster")


def weights_of(model: Any) -> Weights:
    """Copy a network's variables, by name, in the network's order."""
    return {variable.path: value_of(variable) for variable in model.weights}


def value_of(variable: Any) -> npt.NDArray[Any]:
    """Copy the value of a Keras variable, of a network or of an optimizer."""
    return np.array(variable.value.numpy())


def set_weights(model: Any, weights: Weights) -> None:
    """Set a network's variables.

    Raises:
        DataError: Names or shapes do not match the network.
    """
    wanted = {variable.path: tuple(variable.shape) for variable in model.weights}
    given = {name: value.shape for name, value in weights.items()}
    if wanted != given:
        raise DataError(f"weights {given} do not fit the network, which has {wanted}")
    for variable in model.weights:
        variable.assign(weights[variable.path])


def rescale(
    architecture: Architecture, weights: Weights, old: Normaliser, new: Normaliser
) -> Weights:
    """Convert weights to other units, so that the network forecasts the same readings.

    The network receives only centred values, so the means cancel, and its first and last layers are
    linear: the conversion is exact.

    Args:
        architecture: The network.
        weights: Its variables, in the units of ``old``.
        old: Units in which the weights were learned.
        new: Units to convert them to.

    Returns:
        The variables in the units of ``new``.
    """
    a = architecture
    ratio = np.array(new.scale) / np.array(old.scale)
    out = np.tile(1.0 / ratio[list(a.targets)], a.steps)
    inward = np.concatenate([np.tile(ratio, a.patch), np.ones(a.sensors)])
    factors = {
        HIGHWAY: np.tile(ratio, a.window)[:, None] * out[None, :],
        LSTM_KERNEL: inward[:, None],
        HEAD_KERNEL: out[None, :],
        HEAD_BIAS: out,
    }
    return {
        name: (value * factors[name]).astype(np.float32) if name in factors else value
        for name, value in weights.items()
    }
