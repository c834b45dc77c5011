"""What the distributions of this interpreter's environment offer (portable-plugins.md 11).

Two ways lead here: entry points, and modules of the namespace package `thalweg.extensions`. Every import is guarded:
what one plugin does wrong is listed with it and hides nothing of the others.
"""

import importlib
import importlib.metadata
import inspect
import pkgutil
import sys
import traceback
from typing import Any, Dict, Iterator, List, Optional, Tuple

from .api import FunctionOf, Maker, make
from .channel import traits
from .plugin import PluginConfig, kind_of

KINDS = {"function": "functions", "source": "sources", "sink": "sinks"}
NAMESPACE = "thalweg.extensions"


class Offer:
    """One symbol of one distribution."""

    def __init__(self, kind: str, name: str, where: str, origin: str, distribution: str, version: str):
        self.kind, self.name, self.where, self.origin = kind, name, where, origin
        self.distribution, self.version = distribution, version
        self.target: Any = None
        self.error: Optional[str] = None
        self.alias_of: Optional[str] = None

    def load(self) -> None:
        """Imports what an entry point names."""
        module, _, attribute = self.where.partition(":")
        try:
            target: Any = importlib.import_module(module)
            for part in attribute.split("."):
                target = getattr(target, part)
            found = kind_of(target)
            if found not in (None, self.kind):
                raise TypeError("%s is a %s, but is offered as a %s" % (self.where, found, self.kind))
            if found is None and not callable(target) and not hasattr(target, "exec"):
                raise TypeError("%s is no %s" % (self.where, self.kind))
            self.target = target
        except BaseException as error:
            self.error = _short(error)

    def maker(self) -> Any:
        """What the runtime makes the symbol from."""
        if self.target is None:
            self.load()
        if self.target is None:
            raise ImportError("%s %s of %s: %s" % (self.kind, self.name, self.distribution, self.error))
        # An undecorated function is one of rows.
        if self.kind == "function" and inspect.isfunction(self.target):
            return FunctionOf(self.target, False, self.name, None, False)
        return self.target

    def rank(self) -> Tuple[int, str, str]:
        """Who wins a name: entry points before the namespace, then the distribution that sorts first."""
        return (0 if self.origin == "entry-point" else 1, self.distribution, self.where)

    def describe(self, is_loaded: bool) -> Dict[str, Any]:
        """The symbol in the manifest."""
        document: Dict[str, Any] = {"name": self.name, "object": self.where, "origin": self.origin}
        if self.alias_of:
            document["aliasOf"] = self.alias_of
        if is_loaded and self.error is None:
            try:
                document.update(_details(self))
            except BaseException as error:
                self.error = _short(error)
        if self.error is not None:
            document["error"] = self.error
        return document


def _details(offer: Offer) -> Dict[str, Any]:
    """Signature and documentation string."""
    maker = offer.maker()
    document: Dict[str, Any] = {}
    if offer.kind == "function":
        function = make(maker, offer.name)
        document.update({key: value for key, value in traits(function, offer.name).items() if key != "fn"})
    elif offer.kind == "sink":
        document["rows"] = hasattr(maker, "collect_batch") or isinstance(maker, Maker)
    doc = inspect.getdoc(maker) if getattr(maker, "__doc__", None) else None
    if doc:
        document["doc"] = doc
    parents = [parent for parent in getattr(maker, "__mro__", ())[1:] if parent is not object]
    if parents:
        document["extends"] = ["%s:%s" % (parent.__module__, parent.__qualname__) for parent in parents]
    return document


def _short(error: BaseException) -> str:
    lines = traceback.format_exception_only(type(error), error)
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if not frame.filename.startswith("<")]
    last = frames[-1] if frames else None
    where = " (%s, line %s)" % (last.filename, last.lineno) if last and last.filename != __file__ else ""
    return "".join(lines).strip().splitlines()[-1] + where


class Discovery:
    """Everything that an environment offers."""

    def __init__(self) -> None:
        self.offers: List[Offer] = []
        self.distributions: Dict[str, Dict[str, Any]] = {}
        self.errors: List[Dict[str, str]] = []
        self.metadata: List[Offer] = []

    def winners(self, prefer: Optional[Dict[str, str]] = None) -> Dict[Tuple[str, str], Offer]:
        """The offer that has each name."""
        best: Dict[Tuple[str, str], Offer] = {}
        for offer in sorted(self.offers, key=lambda offer: (offer.alias_of is not None, offer.rank())):
            key = (offer.kind, offer.name)
            wanted = (prefer or {}).get(offer.name)
            if key not in best or (wanted == offer.distribution and best[key].distribution != wanted):
                best[key] = offer
        return best

    def conflicts(self, prefer: Optional[Dict[str, str]] = None) -> List[Dict[str, Any]]:
        """Names that more than one wants, with who has it and who lost it."""
        winners = self.winners(prefer)
        listed = []
        for (kind, name), winner in sorted(winners.items()):
            losers = [
                {"distribution": offer.distribution, "object": offer.where}
                for offer in sorted(self.offers, key=Offer.rank)
                if (offer.kind, offer.name) == (kind, name) and offer is not winner and offer.alias_of is None
            ]
            if losers:
                has = {"distribution": winner.distribution, "object": winner.where}
                listed.append({"kind": kind, "name": name, "winner": has, "losers": losers})
        return listed

    def config(self, name: str, prefer: Optional[Dict[str, str]] = None) -> PluginConfig:
        """What the host serves. Each symbol is imported when it is started."""
        config = PluginConfig(name, {}, {}, {})
        makers = {"function": config.functions, "source": config.sources, "sink": config.sinks}
        for (kind, symbol), offer in self.winners(prefer).items():
            makers[kind][symbol] = _Later(offer)
        return config

    def manifest(self, environment: str, is_loaded: bool, prefer: Optional[Dict[str, str]] = None) -> Dict[str, Any]:
        """The whole as JSON."""
        described: List[Dict[str, Any]] = []
        for name in sorted(self.distributions):
            own = [offer for offer in self.offers if offer.distribution == name]
            document: Dict[str, Any] = dict(self.distributions[name])
            for kind, plural in KINDS.items():
                of_kind = sorted((offer for offer in own if offer.kind == kind), key=lambda offer: offer.name)
                document[plural] = [offer.describe(is_loaded) for offer in of_kind]
            document["errors"] = [error["error"] for error in self.errors if error["distribution"] == name]
            described.append(document)
        return {
            "env": environment,
            "python": sys.version.split()[0],
            "loaded": is_loaded,
            "distributions": described,
            "conflicts": self.conflicts(prefer),
            "metadata": {offer.name: _metadata_of(offer) for offer in self.metadata} if is_loaded else {},
        }


class _Later:
    """Makes a symbol that is imported when it is first started."""

    def __init__(self, offer: Offer):
        self._offer = offer

    def __call__(self) -> Any:
        return make(self._offer.maker(), self._offer.name)


def _metadata_of(offer: Offer) -> Any:
    offer.load()
    try:
        return offer.target() if offer.error is None else {"error": offer.error}
    except BaseException as error:
        return {"error": _short(error)}


def discover(is_loaded: bool = False) -> Discovery:
    """Lists what is offered. `is_loaded`: imports the objects behind entry points too; modules of the namespace are
    always imported, because only they know what is in them."""
    found = Discovery()
    for distribution in importlib.metadata.distributions():
        try:
            _entry_points(found, distribution)
        except Exception as error:
            name = str(distribution.metadata["Name"] or "?")
            found.errors.append({"distribution": name, "error": _short(error)})
    _namespace(found)
    if is_loaded:
        for offer in found.offers:
            if offer.target is None and offer.error is None:
                offer.load()
    return found


def _note(found: Discovery, distribution: Any) -> Tuple[str, str]:
    metadata = distribution.metadata
    name, version = str(metadata["Name"]), str(distribution.version)
    if name not in found.distributions:
        found.distributions[name] = {"name": name, "version": version, "summary": metadata.get("Summary") or ""}
    return name, version


def _entry_points(found: Discovery, distribution: Any) -> None:
    groups = {"thalweg." + plural: kind for kind, plural in KINDS.items()}
    for entry in distribution.entry_points:
        kind = groups.get(entry.group)
        if kind is None and entry.group != "thalweg.metadata":
            continue
        name, version = _note(found, distribution)
        where = entry.value.split("[")[0].replace(" ", "")
        offer = Offer(kind or "metadata", entry.name, where, "entry-point", name, version)
        # The same distribution may be found twice, installed and on the path.
        known = found.metadata if kind is None else found.offers
        if not any((other.kind, other.name, other.where) == (offer.kind, offer.name, where) for other in known):
            known.append(offer)


def _namespace(found: Discovery) -> None:
    try:
        package = importlib.import_module(NAMESPACE)
    except ImportError:
        return
    except BaseException as error:
        found.errors.append({"distribution": "?", "error": _short(error)})
        return
    owners = _owners()
    for _, short, _ in sorted(pkgutil.iter_modules(package.__path__), key=lambda module: module[1]):
        distribution = owners.get(short)
        name, version = _note(found, distribution) if distribution is not None else (NAMESPACE + "." + short, "")
        found.distributions.setdefault(name, {"name": name, "version": version, "summary": ""})
        try:
            module = importlib.import_module("%s.%s" % (NAMESPACE, short))
        except BaseException as error:
            found.errors.append({"distribution": name, "error": "%s.%s: %s" % (NAMESPACE, short, _short(error))})
            continue
        if name == NAMESPACE + "." + short:
            found.distributions[name]["version"] = version = str(getattr(module, "__version__", ""))
        found.offers.extend(_offers_of(module, short, name, version))


def _owners() -> Dict[str, Any]:
    """Which distribution a module of the namespace belongs to, by the lists of installed files."""
    owners: Dict[str, Any] = {}
    for distribution in importlib.metadata.distributions():
        try:
            files = distribution.files or []
        except Exception:
            continue
        for file in files:
            parts = file.parts
            if len(parts) >= 3 and parts[:2] == ("thalweg", "extensions") and parts[2] != "__pycache__":
                owners.setdefault(parts[2].split(".")[0], distribution)
    return owners


def _offers_of(module: Any, short: str, name: str, version: str) -> Iterator[Offer]:
    public = getattr(module, "__all__", None)
    if public is None:
        own = [key for key, value in vars(module).items() if getattr(value, "__module__", "") == module.__name__]
        public = [key for key in own if not key.startswith("_")]
    for attribute in public:
        target = getattr(module, attribute, None)
        kind = kind_of(target)
        if kind is None:
            continue
        # A name of its own, not one that it inherits from what it extends.
        own = vars(target).get("name") if isinstance(target, type) else getattr(target, "name", None)
        where = "%s:%s" % (module.__name__, attribute)
        full = own if isinstance(own, str) else "%s.%s" % (short, attribute)
        offer = Offer(kind, full, where, "namespace", name, version)
        offer.target = target
        yield offer
        if not isinstance(own, str):
            alias = Offer(kind, attribute[:1].lower() + attribute[1:], where, "namespace", name, version)
            alias.target, alias.alias_of = target, full
            yield alias
