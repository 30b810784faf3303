"""The networks of the two labs, the reader of digits that judges the second, and their files."""

from .classifier import Classifier
from .transformer import Transformer
from .unet import UNet
from .weights import load_notes, load_weights, save_weights

NETWORKS = {network.__name__: network for network in (Transformer, UNet, Classifier)}  # what a file of weights may name
__all__ = [*NETWORKS, "NETWORKS", "load_notes", "load_weights", "save_weights"]
