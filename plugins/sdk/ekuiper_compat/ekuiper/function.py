"""What a plugin's functions derive from."""

from typing import Any, List

from .runtime.context import Context


class Function:
    """One instance serves all rules; calls come one at a time."""

    def validate(self, args: List[Any]) -> str:
        """Look at the arguments as written in the SQL; return an error text, or "" if they are fine."""
        return ""

    def exec(self, args: List[Any], ctx: Context) -> Any:
        """Compute. Of an aggregate, each argument is the list of the group's values."""
        raise NotImplementedError("exec")

    def is_aggregate(self) -> bool:
        """Whether the function is an aggregate."""
        return False
