"""A plugin that tells how unusual a value is. README.md says what each function returns."""

import math
from typing import Any, List, Optional

import scores
from thalweg_sdk import Context, aggregate, function, run

# So many keys are remembered by one call in one rule; beyond that the one not seen for longest begins anew.
MAX_KEYS = 10_000
# A longer window would make every checkpoint of the rule large.
MAX_WINDOW = 1_000
# Values further off than this many deviations are taken into the mean only this far.
CLIP = 4.0


def remembered(ctx: Context, key: Any) -> Any:
    """What is remembered of a key, if anything."""
    return ctx.state.get(str(key))


def remember(ctx: Context, key: Any, memory: List[float]) -> None:
    """Remembers it, as the key seen last."""
    state, key = ctx.state, str(key)
    if key in state:
        del state[key]
    elif len(state) >= MAX_KEYS:
        del state[next(iter(state))]
    state[key] = memory


def number(x: Any) -> Optional[float]:
    """A number; null stays null, and anything else is the error of its row."""
    if x is None:
        return None
    if isinstance(x, bool) or not isinstance(x, (int, float)):
        raise TypeError("expected a number, got %r" % (x,))
    return float(x) if math.isfinite(x) else None


def share(alpha: float) -> float:
    """The weight of a new value."""
    if not 0.0 < alpha <= 1.0:
        raise ValueError("alpha must be above 0 and at most 1, not %r" % (alpha,))
    return alpha


@function
def ewma(x: Optional[float], key: Any = "", alpha: float = 0.1, ctx: Context = None) -> Optional[float]:
    """The exponentially weighted moving average of x for each key."""
    x, memory = number(x), remembered(ctx, key)
    if x is not None:
        memory, _ = scores.ewma_step(memory, x, share(alpha))
        remember(ctx, key, memory)
    return memory[1] if memory else None


@function
def ewma_score(
    x: Optional[float], key: Any = "", alpha: float = 0.1, warm_up: int = 10, ctx: Context = None
) -> Optional[float]:
    """How many deviations x lies off the moving average of the values before it; null while these are too few."""
    x = number(x)
    if x is None:
        return None
    before = remembered(ctx, key)
    memory, score = scores.ewma_step(before, x, share(alpha), CLIP)
    remember(ctx, key, memory)
    return score if before is not None and before[0] >= max(2, warm_up) else None


@function
def rolling_zscore(x: Optional[float], key: Any = "", n: int = 60, ctx: Context = None) -> Optional[float]:
    """How many standard deviations x lies off the mean of the n values before it; null while these are too few."""
    x = number(x)
    if x is None:
        return None
    if not 3 <= n <= MAX_WINDOW:
        raise ValueError("n must be from 3 to %d, not %r" % (MAX_WINDOW, n))
    before = remembered(ctx, key) or []
    remember(ctx, key, [*before, x][-n:])
    return scores.zscore(before, x) if len(before) >= min(n, 10) else None


@aggregate
def mad_score(xs: List[Optional[float]]) -> Optional[float]:
    """How far the newest value of the group lies off the median, in robust deviations."""
    return scores.mad_score([x for x in map(number, xs) if x is not None])


if __name__ == "__main__":
    run("anomaly", ewma, ewma_score, rolling_zscore, mad_score)
