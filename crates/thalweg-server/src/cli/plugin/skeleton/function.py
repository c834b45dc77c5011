"""__NAME__: say in one sentence what it is for."""

from typing import Optional

from thalweg_sdk import __IMPORTS__


@function
def __SYMBOL__(x: Optional[float]) -> Optional[float]:
    """Twice x; null stays null."""
    return None if x is None else 2 * x
