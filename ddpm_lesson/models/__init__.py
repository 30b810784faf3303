"""The networks of the two labs, and their files."""

from .transformer import Transformer
from .unet import UNet
from .weights import load_notes, load_weights, save_weights

NETWORKS = {network.__name__: network for network in (Transformer, UNet)}  # what a file of weights may name
__all__ = [*NETWORKS, "NETWORKS", "load_notes", "load_weights", "save_weights"]
