"""Run by `thalweg plugin test`; by `python3 -m unittest` where the distribution thalweg-sdk is installed."""

import unittest

from __MODULE__ import __SYMBOL__


class Test(unittest.TestCase):
    def test_numbers_are_doubled_and_null_stays_null(self):
        self.assertEqual(__SYMBOL__(1.5), 3.0)
        self.assertIsNone(__SYMBOL__(None))


if __name__ == "__main__":
    unittest.main()
