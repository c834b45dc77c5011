"""What a plugin's sources derive from."""

from thalweg_sdk.api import Source

__all__ = ["Source"]
