"""A backbone of a thousand parameters with seeded random weights: it builds at once and needs no file."""

from headstart.networks.backbones.description import Convolution, Network
from headstart.networks.table import Backbone


def describe(row: Backbone) -> Network:
    """Return the network: three convolutions, whose features are 8."""
    n = row.feature_size
    sizes = (("block_1_conv", 3), ("block_2_conv", n), ("block_3_conv", n))
    return Network(
        tuple(Convolution(name, n_in, n, kernel=3, stride=2) for name, n_in in sizes),
        scale=(1 / 127.5,) * 3,
        offset=(-1.0,) * 3,
        epsilon=1e-3,
        is_padded_evenly=False,
    )
