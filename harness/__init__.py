"""A competition harness: score = how well a model classifies and how fast it does so on a CPU."""

__version__ = "0.1.0"
