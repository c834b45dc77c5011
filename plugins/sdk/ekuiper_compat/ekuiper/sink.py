"""What a plugin's sinks derive from."""

from typing import Any

from .runtime.context import Context


class Sink:
    """One instance for each action that uses the sink."""

    def configure(self, conf: dict):
        """Take the action's properties; raise to refuse them."""

    def open(self, ctx: Context):
        """Connect. Called once, before the first collect."""

    def collect(self, ctx: Context, data: Any):
        """Take one encoded message (bytes)."""
        raise NotImplementedError("collect")

    def close(self, ctx: Context):
        """Disconnect."""
