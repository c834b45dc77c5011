"""Who a symbol works for, and its way back to the engine."""

from thalweg_sdk.context import Context

__all__ = ["Context"]
