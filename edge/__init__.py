"""The device: capture frames, find faces, classify emotion, publish events. See ``python -m edge --help``."""

__version__ = "0.1.0"
