"""Run by `thalweg plugin test`; by `python3 -m unittest` where the distribution thalweg-sdk is installed."""

import unittest

from __MODULE__ import __SYMBOL__
from thalweg_sdk import Context


class Test(unittest.TestCase):
    def test_it_goes_on_where_it_was(self):
        ctx = Context({"ruleId": "test"})
        ctx.state = {"n": 7}
        self.assertEqual(list(__SYMBOL__(ctx, {"count": 9, "seconds": 0})), [{"n": 8}, {"n": 9}])


if __name__ == "__main__":
    unittest.main()
