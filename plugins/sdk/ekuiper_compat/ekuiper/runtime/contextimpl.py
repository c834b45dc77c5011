"""The name under which some plugins import the context."""

from .context import Context as ContextImpl

__all__ = ["ContextImpl"]
