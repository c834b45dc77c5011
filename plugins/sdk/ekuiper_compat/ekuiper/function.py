"""What a plugin's functions derive from."""

from thalweg_sdk.api import Function

__all__ = ["Function"]
