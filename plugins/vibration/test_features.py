"""python3 -m unittest, in this folder. Needs nothing but Python."""

import cmath
import math
import random
import unittest

import features


def sine(hz, rate, n, amplitude=1.0, offset=0.0):
    return [offset + amplitude * math.sin(2 * math.pi * hz * i / rate + 0.3) for i in range(n)]


class Rms(unittest.TestCase):
    def test_a_sine_has_its_amplitude_over_the_root_of_two(self):
        self.assertAlmostEqual(features.rms(sine(50, 1000, 1000, amplitude=2.0)), math.sqrt(2.0), places=9)

    def test_a_constant_is_its_own_size_and_nothing_has_none(self):
        self.assertEqual(features.rms([-3.0, -3.0]), 3.0)
        self.assertIsNone(features.rms([]))


class Kurtosis(unittest.TestCase):
    def test_known_signals(self):
        self.assertAlmostEqual(features.kurtosis(sine(50, 1000, 1000)), 1.5, places=6)
        random.seed(7)
        noise = [random.gauss(0, 1) for _ in range(50_000)]
        self.assertAlmostEqual(features.kurtosis(noise), 3.0, delta=0.1)

    def test_impacts_raise_it(self):
        signal = sine(50, 1000, 1000)
        signal[::100] = [10.0] * 10
        self.assertGreater(features.kurtosis(signal), 20)

    def test_no_variation_or_too_few_samples_have_none(self):
        self.assertIsNone(features.kurtosis([5.0] * 10))
        self.assertIsNone(features.kurtosis([1.0, 2.0, 3.0]))


class Crest(unittest.TestCase):
    def test_known_signals_and_impacts(self):
        self.assertAlmostEqual(features.crest(sine(50, 1000, 1000)), math.sqrt(2.0), places=3)
        signal = sine(50, 1000, 1000)
        signal[500] = -20.0
        self.assertGreater(features.crest(signal), 15)
        self.assertIsNone(features.crest([0.0] * 9))
        self.assertIsNone(features.crest([]))


class ZScore(unittest.TestCase):
    def test_the_last_sample_against_the_others(self):
        self.assertAlmostEqual(features.zscore([1.0, 2.0, 3.0, 4.0]), 2.0)
        self.assertAlmostEqual(features.zscore([3.0, 2.0, 1.0, 2.0]), 0.0)

    def test_no_variation_or_too_few_samples_have_none(self):
        self.assertIsNone(features.zscore([1.0, 1.0, 5.0]))
        self.assertIsNone(features.zscore([1.0, 2.0]))


class Spectrum(unittest.TestCase):
    def test_the_transform_is_the_defining_sum(self):
        random.seed(1)
        xs = [complex(random.random(), random.random()) for _ in range(32)]
        for k, line in enumerate(features.fft(xs)):
            direct = sum(x * cmath.exp(-2j * math.pi * k * i / 32) for i, x in enumerate(xs))
            self.assertAlmostEqual(abs(line - direct), 0.0, places=9)

    def test_lengths_that_are_no_power_of_two_are_refused(self):
        with self.assertRaises(ValueError):
            features.fft([0.0] * 3)

    def test_a_line_between_two_bins_is_found(self):
        for hz, rate, n in [(49.7, 1000, 1000), (120.3, 3200, 777), (5.1, 100, 256), (1234.5, 10_000, 5000)]:
            found = features.peak_hz(sine(hz, rate, n, offset=9.81), rate)
            self.assertAlmostEqual(found, hz, delta=0.02 * rate / n + 0.01)

    def test_the_strongest_of_two_lines_wins_in_noise(self):
        random.seed(3)
        parts = zip(sine(50, 1000, 1024), sine(130, 1000, 1024, amplitude=2.0))
        signal = [a + b + random.gauss(0, 0.5) for a, b in parts]
        self.assertAlmostEqual(features.peak_hz(signal, 1000), 130, delta=0.5)

    def test_a_band_holds_what_vibrates_in_it(self):
        parts = zip(sine(50, 1000, 1000), sine(130, 1000, 1000, amplitude=2.0, offset=9.81))
        signal = [a + b for a, b in parts]
        for low, high, expected in [(40, 60, 1.0), (120, 140, 2.0), (0, 500, math.sqrt(5.0)), (200, 300, 0.0)]:
            found = features.band_rms(signal, 1000, low, high)
            self.assertAlmostEqual(found, expected / math.sqrt(2.0), delta=0.01)
        self.assertIsNone(features.band_rms([1.0] * 7, 1000, 0, 10))
        for low, high in ((10, 10), (-1, 10), (20, 10)):
            with self.assertRaises(ValueError):
                features.band_rms([0.0] * 64, 1000, low, high)

    def test_what_has_no_line_has_none_and_a_wrong_rate_is_refused(self):
        self.assertIsNone(features.peak_hz([1.0] * 64, 1000))
        self.assertIsNone(features.peak_hz([1.0, 2.0], 1000))
        for rate in (0, -1, float("nan")):
            with self.assertRaises(ValueError):
                features.peak_hz([0.0] * 64, rate)


if __name__ == "__main__":
    unittest.main()
