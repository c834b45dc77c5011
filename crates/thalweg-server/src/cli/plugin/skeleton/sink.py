"""__NAME__: say in one sentence where the rows go."""

import json

from thalweg_sdk import __IMPORTS__


@sink(batch=True)
def __SYMBOL__(rows: list, config: dict):
    """Appends rows to the file `path`, one JSON document a line. What it raises is a refusal."""
    with open(config["path"], "a", encoding="utf-8") as file:
        file.writelines(json.dumps(row) + "\n" for row in rows)
