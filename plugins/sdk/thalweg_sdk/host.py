"""The process that runs all plugins of one Python environment: `python -m thalweg_sdk.host --env ID`.

With --describe it prints what the environment offers as JSON and ends; with --load it imports everything for that.
"""

import argparse
import json
import logging
import os
import sys
from typing import Any, List, Optional

from .discover import discover
from .log import log_as_json
from .plugin import start


def main(args: Optional[List[str]] = None) -> int:
    """The program."""
    parser = argparse.ArgumentParser(prog="python -m thalweg_sdk.host", description=__doc__.splitlines()[0])
    parser.add_argument("--env", required=True, help="the environment's name")
    parser.add_argument("--control", help="the name of the control channel (default: <env>-host)")
    parser.add_argument("--describe", action="store_true", help="print the manifest and end")
    parser.add_argument("--load", action="store_true", help="with --describe: import everything")
    parser.add_argument("--prefer", default="{}", help="who has a name that several want, as JSON")
    parser.add_argument("engine", nargs="*", help=argparse.SUPPRESS)
    options = parser.parse_args(args)
    prefer = _preferences(parser, options.prefer)
    if options.describe:
        return _describe(options.env, options.load, prefer)
    found = discover()
    for error in found.errors:
        logging.error("%s: %s", error["distribution"], error["error"])
    start(found.config(options.control or options.env + "-host", prefer), log_as_json)
    return 0


def _preferences(parser: argparse.ArgumentParser, text: str) -> Any:
    try:
        prefer = json.loads(text)
    except ValueError as error:
        parser.error("--prefer is no JSON: %s" % error)
    if not isinstance(prefer, dict):
        parser.error("--prefer must be an object")
    return prefer


def _describe(environment: str, is_loaded: bool, prefer: Any) -> int:
    # What plugins print while they are imported must not end up in the manifest.
    out = os.fdopen(os.dup(1), "w", encoding="utf-8")
    sys.stdout.flush()
    os.dup2(2, 1)
    manifest = discover(is_loaded).manifest(environment, is_loaded, prefer)
    json.dump(manifest, out, indent=2)
    out.write("\n")
    out.close()
    return 0


if __name__ == "__main__":
    sys.exit(main())
