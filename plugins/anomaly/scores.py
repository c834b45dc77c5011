"""How far a value lies off what was seen before, with no knowledge of SQL. Formulas and sources are in README.md.

What is remembered is a list of numbers, given in and handed back, so that it can be saved as JSON.
"""

import math
import statistics
from typing import List, Optional, Sequence, Tuple

# The median of the distances from the median, times this, is the standard deviation of normal noise.
MAD_TO_SIGMA = 1.4826

# [how many values, mean, variance]
Ewma = List[float]


def ewma_step(memory: Optional[Ewma], x: float, alpha: float, limit: float = math.inf) -> Tuple[Ewma, float]:
    """Takes x in; the new memory, and the score that x had against the old one (0 where nothing is known).

    A value further off than `limit` deviations counts as if it were that far off, so that a spike does not hide the
    next one, while a level that stays is learned after a while.
    """
    if memory is None:
        return [1, x, 0.0], 0.0
    n, mean, variance = memory
    score = score_of(x - mean, math.sqrt(variance))
    step = x - mean
    if n > 1 and variance > 0.0 and abs(score) > limit:
        step = math.copysign(limit * math.sqrt(variance), step)
    # The first values count as in a plain mean: 1/2, 1/3 and so on, until alpha is more.
    weight = max(alpha, 1.0 / (n + 1))
    return [n + 1, mean + weight * step, (1.0 - weight) * (variance + weight * step * step)], score


def score_of(distance: float, deviation: float) -> float:
    """Distance in deviations; of what never varied any change is infinitely far, told as the largest number."""
    if deviation > 0.0:
        return max(-_FARTHEST, min(_FARTHEST, distance / deviation))
    return 0.0 if distance == 0.0 else math.copysign(_FARTHEST, distance)


# JSON has no infinity.
_FARTHEST = 1e6


def zscore(before: Sequence[float], x: float) -> Optional[float]:
    """x against the mean and the sample deviation of the values before it; None if they are fewer than two."""
    if len(before) < 2:
        return None
    mean = math.fsum(before) / len(before)
    deviation = math.sqrt(math.fsum((y - mean) ** 2 for y in before) / (len(before) - 1))
    return score_of(x - mean, deviation)


def mad_score(xs: Sequence[float]) -> Optional[float]:
    """The last value against the median of all, in units of the median distance from it; None below three values."""
    if len(xs) < 3:
        return None
    median = statistics.median(xs)
    spread = statistics.median(abs(x - median) for x in xs)
    return score_of(xs[-1] - median, MAD_TO_SIGMA * spread)
