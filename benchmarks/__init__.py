"""Measurements under load, each a program: `python -m benchmarks.swap_latency`."""
