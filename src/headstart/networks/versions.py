"""What decides the numbers beside settings and photos: the processor, Python and the packages."""

import contextlib
import importlib.metadata
import platform

from headstart.base.version import __version__
from headstart.networks import engine

PACKAGES = (
    *("keras", "tensorflow-cpu", "tensorflow", "openvino", "numpy", "scipy", "scikit-learn"),
    *("opencv-python-headless", "pillow", "simplejpeg"),
)


def here() -> dict[str, str]:
    """Return the versions of this installation by name, and the processor as `processor`.

    Example:
        >>> here()["headstart"] == __version__
        True
    """
    found = {"headstart": __version__, "python": platform.python_version()}
    found["processor"] = engine.processor()
    for package in PACKAGES:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            found[package] = importlib.metadata.version(package)
    return found
