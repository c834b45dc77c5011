"""What a plugin's sources derive from."""

from .runtime.context import Context


class Source:
    """One instance for each stream that uses the source."""

    def configure(self, datasource: str, conf: dict):
        """Take the properties; raise to refuse them."""

    def open(self, ctx: Context):
        """Run, and hand over rows with ctx.emit, until close is called."""
        raise NotImplementedError("open")

    def close(self, ctx: Context):
        """Called from another thread: make open return."""
