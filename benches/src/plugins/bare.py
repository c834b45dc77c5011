"""The yardstick of `bench plugins`: the same functions in a bare loop over values in memory, when asked."""

import sys
import time


def inc(args, ctx):
    return args[0] + 1


def mean(args, ctx):
    xs = args[0]
    return sum(xs) / len(xs)


numbers = [i * 7919 % 100000 for i in range(4096)]
groups = [[(i * 7919 + g * 104729) % 100000 / 1000 + 0.0001 for i in range(1000)] for g in range(64)]

for line in sys.stdin:
    what, n_calls = line.split()
    n_calls = int(n_calls)
    f, values = (inc, numbers) if what == "scalar" else (mean, groups)
    values = values[:n_calls]
    for _ in range(n_calls // len(values)):
        start = time.perf_counter_ns()
        [f([x], None) for x in values]
        print(time.perf_counter_ns() - start, len(values), flush=False)
    print("done", flush=True)
