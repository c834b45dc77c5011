"""What a plugin's sinks derive from."""

from thalweg_sdk.api import Sink

__all__ = ["Sink"]
