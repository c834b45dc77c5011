"""Run by `thalweg plugin test`; by `python3 -m unittest` where the distribution thalweg-sdk is installed."""

import unittest

from __MODULE__ import __SYMBOL__


class Test(unittest.TestCase):
    def test_nulls_do_not_count(self):
        self.assertEqual(__SYMBOL__([3, None, 10]), 7)
        self.assertIsNone(__SYMBOL__([None]))


if __name__ == "__main__":
    unittest.main()
