"""Run by `thalweg plugin test`; by `python3 -m unittest` where the distribution thalweg-sdk is installed."""

import os
import tempfile
import unittest

from __MODULE__ import __SYMBOL__


class Test(unittest.TestCase):
    def test_rows_are_appended(self):
        with tempfile.TemporaryDirectory() as folder:
            path = os.path.join(folder, "rows")
            __SYMBOL__([{"a": 1}], {"path": path})
            __SYMBOL__([{"a": 2}], {"path": path})
            with open(path, encoding="utf-8") as file:
                self.assertEqual(file.read(), '{"a": 1}\n{"a": 2}\n')


if __name__ == "__main__":
    unittest.main()
