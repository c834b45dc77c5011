"""__NAME__: say in one sentence what it is for."""

from typing import List, Optional

from thalweg_sdk import __IMPORTS__


@aggregate
def __SYMBOL__(xs: List[Optional[float]]) -> Optional[float]:
    """The largest value of the group minus the smallest one; nulls do not count."""
    known = [x for x in xs if x is not None]
    return max(known) - min(known) if known else None
