"""The plugin's main program calls start, which does not return while the engine lives."""

from thalweg_sdk import plugin
from thalweg_sdk.log import log_as_text
from thalweg_sdk.plugin import PluginConfig

__all__ = ["PluginConfig", "start"]


def start(config: PluginConfig) -> None:
    """Serves the engine. Ends the process with status 1 when the engine goes away, with 0 on SIGTERM."""
    plugin.start(config, log_as_text)
