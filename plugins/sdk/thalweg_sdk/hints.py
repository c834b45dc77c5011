"""Type hints as checks: how many arguments a function takes and of which types, and texts that say what to write."""

import collections.abc
import datetime
import inspect
import typing
from typing import Any, Callable, List, Optional

# What a hint is called in an error, and what it is as a column type.
_WORDS = {
    int: ("a whole number", "i64", "5"),
    float: ("a number", "f64", "1.5"),
    bool: ("true or false", "bool", "true"),
    str: ("a text", "str", "'text'"),
    bytes: ("bytes", "bin", ""),
    datetime.datetime: ("a time", "ts", ""),
    list: ("a list", "json", ""),
    dict: ("an object", "json", ""),
}
_NONE = type(None)


class Hint:
    """What one annotation allows; an annotation that says nothing allows everything."""

    def __init__(self, annotation: Any = inspect.Parameter.empty):
        self.allowed: Optional[set] = _members(annotation)

    @property
    def column_type(self) -> Optional[str]:
        """The column type, if the annotation names exactly one (None beside it does not matter)."""
        kinds = {_WORDS[kind][1] for kind in (self.allowed or set()) - {_NONE}}
        if kinds == {"i64", "f64"}:
            return "f64"
        return kinds.pop() if len(kinds) == 1 else None

    def wants(self, kind: type) -> bool:
        """Whether the annotation names this type."""
        return self.allowed is not None and kind in self.allowed

    def admits(self, value: Any) -> bool:
        """Whether a literal may stand here."""
        if self.allowed is None or type(value) in self.allowed:
            return True
        if isinstance(value, bool):
            return False
        if isinstance(value, int) and float in self.allowed:
            return True
        return isinstance(value, str) and bool({bytes, datetime.datetime} & self.allowed)

    def __str__(self) -> str:
        words = sorted(_WORDS[kind][0] for kind in (self.allowed or set()) - {_NONE})
        return " or ".join(words) or "anything"

    def example(self, name: str) -> str:
        """A literal that may stand here, else a column."""
        for kind in (int, float, str, bool):
            if self.wants(kind):
                return _WORDS[kind][2]
        return name


def _members(annotation: Any) -> Optional[set]:
    if annotation in (inspect.Parameter.empty, Any, object):
        return None
    if annotation in (None, _NONE):
        return {_NONE}
    if isinstance(annotation, type) and annotation in _WORDS:
        return {annotation}
    origin = typing.get_origin(annotation)
    # Of X | Y (Python 3.10) the origin is types.UnionType.
    if origin is typing.Union or getattr(origin, "__name__", "") == "UnionType":
        members: set = set()
        for member in typing.get_args(annotation):
            known = _members(member)
            if known is None:
                return None
            members |= known
        return members
    if origin in (list, collections.abc.Sequence, collections.abc.Iterable, tuple):
        return {list}
    if origin in (dict, collections.abc.Mapping):
        return {dict}
    return None


def _element(annotation: Any) -> Any:
    """Of `List[float]` the `float`: what an aggregate says about the column behind a list."""
    args = typing.get_args(annotation)
    is_list = typing.get_origin(annotation) in (list, collections.abc.Sequence, collections.abc.Iterable, tuple)
    if is_list and args and args[0] is not Ellipsis and not isinstance(args[0], typing.TypeVar):
        return args[0]
    return Any


class Parameter:
    """One argument in SQL."""

    def __init__(self, name: str, hint: Hint, required: bool):
        self.name, self.hint, self.required = name, hint, required

    def __str__(self) -> str:
        shown = self.name if self.hint.allowed is None else "%s: %s" % (self.name, self.hint)
        return shown if self.required else "[%s]" % shown


class Signature:
    """What a callable takes from SQL. The parameter `ctx`, or one annotated as Context, is the context instead."""

    def __init__(self, target: Callable, columns: bool = False, skip: int = 0):
        """`columns`: the arguments are lists or arrays, so their annotations speak of those. `skip`: so many
        parameters at the beginning (self) or, if negative, at the end (offsets) are none of SQL's."""
        self.parameters: List[Parameter] = []
        self.rest: Optional[Parameter] = None
        self.context_name: Optional[str] = None
        self.result = Hint()
        try:
            found = list(inspect.signature(target).parameters.values())
        except (TypeError, ValueError):
            # A builtin that does not tell: everything goes.
            self.rest = Parameter("x", Hint(), False)
            return
        hints = _hints_of(target)
        found = found[skip:] if skip >= 0 else found[:skip]
        for parameter in found:
            annotation = hints.get(parameter.name, inspect.Parameter.empty)
            if _is_context(annotation) or (parameter.name == "ctx" and annotation is inspect.Parameter.empty):
                self.context_name = parameter.name
            elif parameter.kind == parameter.VAR_POSITIONAL:
                self.rest = Parameter(parameter.name, Hint(_element(annotation) if columns else annotation), False)
            elif parameter.kind in (parameter.POSITIONAL_ONLY, parameter.POSITIONAL_OR_KEYWORD):
                hint = Hint(_element(annotation) if columns else annotation)
                self.parameters.append(Parameter(parameter.name, hint, parameter.default is parameter.empty))
            elif parameter.kind == parameter.KEYWORD_ONLY and parameter.default is parameter.empty:
                raise TypeError("parameter %s can only be given by name, which SQL cannot do" % parameter.name)
        self.result = Hint(hints.get("return", inspect.Parameter.empty))

    @property
    def fewest(self) -> int:
        """So many arguments are needed."""
        return sum(parameter.required for parameter in self.parameters)

    @property
    def most(self) -> Optional[int]:
        """So many arguments are allowed; None for any number."""
        return None if self.rest else len(self.parameters)

    def hint_of(self, index: int) -> Hint:
        """The hint of an argument by its place."""
        if index < len(self.parameters):
            return self.parameters[index].hint
        return self.rest.hint if self.rest else Hint()

    def usage(self, name: str) -> str:
        """How the function is called."""
        shown = [str(parameter) for parameter in self.parameters]
        if self.rest:
            shown.append("%s…" % self.rest.name)
        return "%s(%s)" % (name, ", ".join(shown))

    def check(self, name: str, args: Optional[List[Any]]) -> str:
        """What is wrong with the arguments as written in SQL and what to write instead; "" if nothing is."""
        args = args or []
        if len(args) < self.fewest or (self.most is not None and len(args) > self.most):
            return "%s takes %s, not %d; use it as %s" % (name, self._count(), len(args), self.usage(name))
        for index, arg in enumerate(args):
            if not isinstance(arg, dict) or set(arg) != {"Val"}:
                continue
            hint = self.hint_of(index)
            if not hint.admits(arg["Val"]):
                parameter = self.parameters[index] if index < len(self.parameters) else self.rest
                names = [known.name for known in self.parameters[: len(args)]]
                names[index : index + 1] = [hint.example("column")]
                text = "argument %d (%s) of %s must be %s, not %s; write for example %s(%s)"
                own = parameter.name if parameter else ""
                return text % (index + 1, own, name, hint, _literal(arg["Val"]), name, ", ".join(names))
        return ""

    def _count(self) -> str:
        fewest, most = self.fewest, self.most
        if most is None:
            return "at least %d argument%s" % (fewest, "" if fewest == 1 else "s")
        if fewest == most:
            return "no argument" if not most else "%d argument%s" % (most, "" if most == 1 else "s")
        return "%d to %d arguments" % (fewest, most)


def _is_context(annotation: Any) -> bool:
    """Context, or with a default of None (Python below 3.11 makes it that by itself) Optional[Context]."""
    return any(getattr(hint, "__name__", "") == "Context" for hint in (annotation, *typing.get_args(annotation)))


def _literal(value: Any) -> str:
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    return "the text '%s'" % value if isinstance(value, str) else "%s" % (value,)


def _hints_of(target: Callable) -> dict:
    try:
        return typing.get_type_hints(target)
    except Exception:
        # Annotations as text that Python of today cannot read say nothing.
        found = getattr(target, "__annotations__", {})
        return {name: hint for name, hint in found.items() if not isinstance(hint, str)}
