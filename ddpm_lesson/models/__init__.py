"""The networks of the two labs."""

from .transformer import Transformer

__all__ = ["Transformer"]
