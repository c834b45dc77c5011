"""Features of a vibration signal, in plain Python. Formulas and their sources are in README.md.

Each function takes the samples in order of time and returns a number, or None where the feature is not defined
(too few samples, no variation).
"""

import cmath
import math
from typing import List, Optional, Sequence, Tuple

# The samples that one spectrum looks at; of a longer signal the newest.
MAX_SPECTRUM = 1 << 15


def rms(xs: Sequence[float]) -> Optional[float]:
    """The root of the mean of the squares."""
    if not xs:
        return None
    return math.sqrt(math.fsum(x * x for x in xs) / len(xs))


def kurtosis(xs: Sequence[float]) -> Optional[float]:
    """The fourth central moment over the square of the second: 3 for noise, 1.5 for a sine."""
    if len(xs) < 4:
        return None
    mean = math.fsum(xs) / len(xs)
    squares = [(x - mean) ** 2 for x in xs]
    second = math.fsum(squares) / len(xs)
    if second == 0.0 or not math.isfinite(second):
        return None
    return math.fsum(s * s for s in squares) / len(xs) / (second * second)


def crest(xs: Sequence[float]) -> Optional[float]:
    """The largest absolute value over the root of the mean of the squares: 1.41 for a sine, more with impacts."""
    own = rms(xs)
    return max(map(abs, xs)) / own if own else None


def zscore(xs: Sequence[float]) -> Optional[float]:
    """By how many standard deviations of the others the last sample lies off their mean."""
    if len(xs) < 3:
        return None
    others, last = xs[:-1], xs[-1]
    mean = math.fsum(others) / len(others)
    deviation = math.sqrt(math.fsum((x - mean) ** 2 for x in others) / (len(others) - 1))
    return None if deviation == 0.0 else (last - mean) / deviation


def peak_hz(xs: Sequence[float], sample_rate: float) -> Optional[float]:
    """The frequency of the strongest line of the spectrum."""
    found = _spectrum(xs, sample_rate)
    if found is None:
        return None
    lines, _ = found
    peak = max(range(1, len(lines) - 1), key=lines.__getitem__)
    if lines[peak] == 0.0:
        return None
    return (peak + _offset(*lines[peak - 1 : peak + 2])) * sample_rate / (2 * (len(lines) - 1))


def band_rms(xs: Sequence[float], sample_rate: float, low: float, high: float) -> Optional[float]:
    """The root of the mean of the squares of what vibrates from `low` to `high` Hz."""
    if not 0 <= low < high:
        raise ValueError("a band is from a lower to a higher frequency, not from %r to %r" % (low, high))
    found = _spectrum(xs, sample_rate)
    if found is None:
        return None
    lines, window_power = found
    size = 2 * (len(lines) - 1)
    hz = sample_rate / size
    # Each line but the first and the last stands for two of the whole spectrum.
    power = math.fsum((1 if i in (0, size // 2) else 2) * line * line for i, line in enumerate(lines) if low <= i * hz < high)
    return math.sqrt(power / (size * window_power))


def _spectrum(xs: Sequence[float], sample_rate: float) -> Optional[Tuple[List[float], float]]:
    """Sizes of the lines from 0 Hz to half the sample rate, without the mean and through a Hann window, and the
    window's power; None if there are too few samples."""
    if not sample_rate > 0 or not math.isfinite(sample_rate):
        raise ValueError("the sample rate must be a number above 0, not %r" % (sample_rate,))
    xs = xs[-MAX_SPECTRUM:]
    if len(xs) < 8:
        return None
    mean = math.fsum(xs) / len(xs)
    step = 2.0 * math.pi / len(xs)
    window = [0.5 - 0.5 * math.cos(i * step) for i in range(len(xs))]
    size = 1
    while size < len(xs):
        size *= 2
    windowed = [(x - mean) * w for x, w in zip(xs, window)] + [0.0] * (size - len(xs))
    return [abs(c) for c in fft(windowed)[: size // 2 + 1]], math.fsum(w * w for w in window)


def _offset(left: float, peak: float, right: float) -> float:
    """Where between the lines the top of a parabola through three logarithms lies, in lines."""
    if left <= 0.0 or right <= 0.0:
        return 0.0
    a, b, c = math.log(left), math.log(peak), math.log(right)
    bend = a - 2.0 * b + c
    return 0.0 if bend == 0.0 else max(-0.5, min(0.5, 0.5 * (a - c) / bend))


def fft(xs: Sequence[complex]) -> List[complex]:
    """The discrete Fourier transform; the length must be a power of two."""
    n = len(xs)
    bits = n.bit_length() - 1
    if n != 1 << bits:
        raise ValueError("the length %d is no power of two" % n)
    out = [complex(xs[_reversed(i, bits)]) for i in range(n)]
    half = 1
    while half < n:
        turns = [cmath.exp(-1j * math.pi * k / half) for k in range(half)]
        for start in range(0, n, 2 * half):
            for k, turn in enumerate(turns, start):
                even, odd = out[k], out[k + half] * turn
                out[k], out[k + half] = even + odd, even - odd
        half *= 2
    return out


def _reversed(i: int, bits: int) -> int:
    return int(format(i, "0%db" % bits)[::-1], 2) if bits else 0
