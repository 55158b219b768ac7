"""What decides the numbers beside settings and photos: the processor, Python and the packages."""

import contextlib
import importlib.metadata
import platform

from headstart.base.errors import ClusterError
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


def refuse_others(wanted: dict[str, str]) -> None:
    """Refuse to work for a machine whose versions, as `here` tells them, are not those of this one.

    Raises:
        ClusterError: It says what differs first.
    """
    own = here()
    for name in [*wanted, *own]:
        if own.get(name) != wanted.get(name):
            raise unlike(*(f"{name} {one[name]}" if name in one else f"no {name}" for one in (own, wanted)))


def unlike(own: str, wanted: str) -> ClusterError:
    """Return the error that this machine would give other numbers, for what it has."""
    return ClusterError(
        f"{platform.node()} has {own}, and this run needs {wanted}.",
        "Give all machines of the cluster the same Headstart, the same packages and one kind of processor.",
    )
