"""A portable plugin with aggregate functions for machine vibration. README.md says what each returns."""

from typing import Any, Callable, List, Optional

import features
from ekuiper import Context, Function, PluginConfig, plugin


def numbers(values: List[Any]) -> List[float]:
    """The numbers of a group's column; nulls are left out, anything else is an error."""
    for value in values:
        if value is not None and (isinstance(value, bool) or not isinstance(value, (int, float))):
            raise ValueError("expected numbers, got %r" % (value,))
    return [float(value) for value in values if value is not None]


class Feature(Function):
    """An aggregate of one column, and of so many further arguments that are the same for all rows."""

    def __init__(self, usage: str, compute: Callable[..., Optional[float]]):
        self._usage = usage
        self._n_args = usage.count(",") + 1
        self._compute = compute

    def validate(self, args: List[Any]) -> str:
        return "" if len(args) == self._n_args else "use it as " + self._usage

    def exec(self, args: List[Any], ctx: Context) -> Optional[float]:
        further = [numbers(column) for column in args[1:]]
        if not all(further):
            return None
        return self._compute(numbers(args[0]), *(column[-1] for column in further))

    def is_aggregate(self) -> bool:
        return True


FUNCTIONS = {
    "vib_rms": lambda: Feature("vib_rms(x)", features.rms),
    "vib_kurtosis": lambda: Feature("vib_kurtosis(x)", features.kurtosis),
    "vib_peak_hz": lambda: Feature("vib_peak_hz(x, sample_rate)", features.peak_hz),
    "vib_crest": lambda: Feature("vib_crest(x)", features.crest),
    "vib_band_rms": lambda: Feature("vib_band_rms(x, sample_rate, low_hz, high_hz)", features.band_rms),
    "zscore": lambda: Feature("zscore(x)", features.zscore),
}

if __name__ == "__main__":
    plugin.start(PluginConfig("vibration", {}, {}, FUNCTIONS))
