"""The version of Headstart: a leaf, so that results can state it and the front door stay lazy."""

__version__ = "0.1.0"
