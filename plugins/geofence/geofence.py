"""A plugin that tells where things are: distances, circles, polygons, and zones that have names in a file."""

import functools
import json
import logging
import os
import threading
import time
from typing import Any, Dict, List, Optional

import shapes
from thalweg_sdk import Context, function, run

ZONES_VARIABLE = "GEOFENCE_ZONES"
# So long a changed file may go unnoticed.
LOOK_AGAIN_S = 1.0
# So many things are followed by one call in one rule; beyond that the one not seen for longest is forgotten.
MAX_FOLLOWED = 100_000

_polygon = functools.lru_cache(maxsize=256)(shapes.rings_of)


class ZoneFile:
    """The zones of a file, which is read again when it has changed. A file that cannot be read while there are
    zones of before is said in the log, and they go on."""

    def __init__(self, path: str):
        self.path = path
        self._lock = threading.Lock()
        self._stamp: Any = None
        self._zones: Optional[Dict[str, shapes.Zone]] = None
        self._next_look = 0.0

    def zones(self) -> Dict[str, shapes.Zone]:
        """The zones as they are now."""
        with self._lock:
            if self._zones is None or time.monotonic() >= self._next_look:
                self._next_look = time.monotonic() + LOOK_AGAIN_S
                self._look()
            return self._zones or {}

    def _look(self) -> None:
        try:
            status = os.stat(self.path)
            stamp = (status.st_mtime_ns, status.st_size, status.st_ino)
            if stamp == self._stamp:
                return
            with open(self.path, encoding="utf-8") as file:
                self._zones = shapes.read_zones(json.load(file))
            self._stamp = stamp
        except (OSError, ValueError) as error:
            if self._zones is None:
                raise ValueError("no zones: %s: %s (another file: zones in portable.config.geofence, or variable %s)" % (self.path, error, ZONES_VARIABLE))
            logging.error("zones stay as they were: %s: %s", self.path, error)


_OWN = os.environ.get(ZONES_VARIABLE) or os.path.join(os.path.dirname(os.path.abspath(__file__)), "zones.json")
_file = functools.lru_cache(maxsize=None)(ZoneFile)


def zones_for(ctx: Optional[Context]) -> Dict[str, shapes.Zone]:
    """The zones of the file that the engine's configuration names, else the variable, else the one beside the code."""
    path = ctx.config.get("zones") if ctx is not None else None
    return _file(str(path or _OWN)).zones()


@function
def geo_distance(lat1: float, lon1: float, lat2: float, lon2: float) -> Optional[float]:
    """Meters between two places."""
    if None in (lat1, lon1, lat2, lon2):
        return None
    return shapes.distance_m(*shapes.check_place(lat1, lon1), *shapes.check_place(lat2, lon2))


@function
def in_circle(lat: float, lon: float, center_lat: float, center_lon: float, radius_m: float) -> Optional[bool]:
    """Whether a place is at most radius_m meters away from another."""
    distance = geo_distance(lat, lon, center_lat, center_lon)
    return None if distance is None or radius_m is None else distance <= radius_m


@function
def in_polygon(lat: float, lon: float, polygon: Any) -> Optional[bool]:
    """Whether a place lies in a polygon: a list of corners [longitude, latitude], or that as JSON text."""
    if lat is None or lon is None or polygon is None:
        return None
    place = shapes.check_place(lat, lon)
    return shapes.is_inside(*place, _polygon(polygon) if isinstance(polygon, str) else shapes.rings_of(polygon))


@function
def in_zone(lat: float, lon: float, zone: str, ctx: Context = None) -> Optional[bool]:
    """Whether a place lies in the zone of this name."""
    if lat is None or lon is None or zone is None:
        return None
    zones = zones_for(ctx)
    if zone not in zones:
        raise ValueError("there is no zone %r; there are: %s" % (zone, ", ".join(zones)))
    return zones[zone].holds(*shapes.check_place(lat, lon))


@function
def zones_at(lat: float, lon: float, ctx: Context = None) -> Optional[list]:
    """The names of all zones in which a place lies."""
    if lat is None or lon is None:
        return None
    place = shapes.check_place(lat, lon)
    return [name for name, zone in zones_for(ctx).items() if zone.holds(*place)]


@function
def zone_change(lat: float, lon: float, thing: Any, ctx: Context) -> Optional[dict]:
    """What a thing has entered and left since it was last seen; null if nothing."""
    now: Optional[List[str]] = zones_at(lat, lon, ctx)
    if now is None:
        return None
    key = str(thing)
    before: List[str] = ctx.state.pop(key, [])
    if len(ctx.state) >= MAX_FOLLOWED:
        del ctx.state[next(iter(ctx.state))]
    ctx.state[key] = now
    entered = [name for name in now if name not in before]
    left = [name for name in before if name not in now]
    return {"entered": entered, "left": left} if entered or left else None


if __name__ == "__main__":
    run("geofence", in_circle, in_polygon, in_zone, zones_at, zone_change, geo_distance)
