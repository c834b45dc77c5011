"""python3 -m unittest, in this folder. Needs nothing but Python."""

import math
import os
import random
import sys
import unittest

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "..", "sdk"))

import anomaly
import scores
from thalweg_sdk import Context
from thalweg_sdk.testing import failures


def context():
    return Context({"ruleId": "r", "opId": "o", "instanceId": 0})


class MovingAverage(unittest.TestCase):
    def test_the_average_approaches_a_new_level_by_alpha_of_the_rest(self):
        memory = [1000, 0.0, 1.0]
        for step in range(1, 20):
            memory, _ = scores.ewma_step(memory, 1.0, 0.25)
            self.assertAlmostEqual(memory[1], 1 - 0.75**step)

    def test_mean_and_variance_are_those_of_the_noise(self):
        random.seed(5)
        memory, means, variances = None, [], []
        for _ in range(20_000):
            memory, _ = scores.ewma_step(memory, random.gauss(7, 2), 0.05)
            means.append(memory[1])
            variances.append(memory[2])
        self.assertAlmostEqual(sum(means) / len(means), 7, delta=0.1)
        self.assertAlmostEqual(sum(variances[1000:]) / len(variances[1000:]), 4, delta=0.3)

    def test_a_spike_stands_out_and_does_not_hide_the_next_one(self):
        random.seed(6)
        ctx, found = context(), []
        for i in range(500):
            x = random.gauss(20, 0.5) + (15 if i in (300, 310) else 0)
            score = anomaly.ewma_score(x, ctx=ctx)
            if score is not None and abs(score) > 6:
                found.append(i)
        self.assertEqual(found, [300, 310])

    def test_a_level_that_stays_is_learned(self):
        random.seed(7)
        ctx = context()
        for _ in range(200):
            anomaly.ewma_score(random.gauss(20, 0.5), ctx=ctx)
        after = [anomaly.ewma_score(random.gauss(30, 0.5), ctx=ctx) for _ in range(200)]
        self.assertGreater(after[0], 6)
        self.assertLess(max(map(abs, after[-50:])), 4)

    def test_what_never_varied_and_then_does_is_as_far_off_as_can_be(self):
        memory, score = scores.ewma_step([50, 5.0, 0.0], 5.1, 0.1)
        self.assertEqual(score, 1e6)
        self.assertEqual(scores.ewma_step(memory, memory[1], 0.1)[1], 0.0)


class Robust(unittest.TestCase):
    def test_the_median_score_of_noise_is_its_distance_in_deviations(self):
        random.seed(8)
        noise = [random.gauss(100, 3) for _ in range(10_001)]
        self.assertAlmostEqual(scores.mad_score(noise + [130.0]), 10, delta=0.4)

    def test_half_of_the_values_may_be_wrong(self):
        self.assertGreater(scores.mad_score([1, 1.1, 0.9, 1.05, 0.95, 99, 99, 99]), 50)


class Memory(unittest.TestCase):
    def test_only_the_key_not_seen_for_longest_is_forgotten(self):
        ctx, most = context(), anomaly.MAX_KEYS
        for key in [*range(most), 0, "new"]:
            anomaly.ewma(1.0, key, ctx=ctx)
        self.assertEqual(len(ctx.state), most)
        self.assertIn("0", ctx.state)
        self.assertNotIn("1", ctx.state)

    def test_a_window_keeps_so_many_values_and_infinity_none(self):
        ctx = context()
        for x in [*range(100), math.inf]:
            anomaly.rolling_zscore(float(x), "k", 5, ctx=ctx)
        self.assertEqual(ctx.state["k"], [95.0, 96.0, 97.0, 98.0, 99.0])


class Plugin(unittest.TestCase):
    def test_the_cases_come_out_by_call_batch_and_frame(self):
        self.assertEqual(failures(HERE), "")


if __name__ == "__main__":
    unittest.main()
