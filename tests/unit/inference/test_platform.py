"""The name of the platform that a prediction carries."""

import tensorflow as tf

from millrace.inference.serving.platform import platform_name


def test_it_names_what_decides_about_the_last_bits() -> None:
    """The version of TensorFlow is the one that runs."""
    assert platform_name().endswith(f" tensorflow {tf.__version__}")
    assert platform_name().split()[0] not in {"", "tensorflow"}
