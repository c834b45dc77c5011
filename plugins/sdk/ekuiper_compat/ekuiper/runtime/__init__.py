"""The part that talks to the engine."""
