"""Circles and polygons on the globe, with no knowledge of SQL.

Places are latitude and longitude in degrees. Corners are GeoJSON's: [longitude, latitude]. Edges are straight on a map
in degrees, which for zones of some kilometers is straight enough; a zone may cross the 180th meridian.
"""

import json
import math
from typing import Any, Dict, List, Sequence, Tuple

EARTH_RADIUS_M = 6_371_008.8

Ring = Sequence[Sequence[float]]


def check_place(lat: Any, lon: Any) -> Tuple[float, float]:
    """A place as numbers; anything else is an error that says which of the two is wrong."""
    for name, value, most in (("latitude", lat, 90.0), ("longitude", lon, 360.0)):
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            raise TypeError("%s must be a number, not %r" % (name, value))
        if not -most <= value <= most:
            raise ValueError("%s must be from -%g to %g degrees, not %r" % (name, most, most, value))
    return float(lat), float(lon)


def distance_m(lat1: float, lon1: float, lat2: float, lon2: float) -> float:
    """Meters along the great circle."""
    a, b = math.radians(lat1), math.radians(lat2)
    east = math.radians(lon2 - lon1)
    half = math.sin((b - a) / 2) ** 2 + math.cos(a) * math.cos(b) * math.sin(east / 2) ** 2
    return 2 * EARTH_RADIUS_M * math.asin(min(1.0, math.sqrt(half)))


def is_inside(lat: float, lon: float, rings: Sequence[Ring]) -> bool:
    """Whether an odd number of edges lies east of the place, so that the second ring and all others are holes. The
    rings are those of `rings_of`."""
    inside = False
    for ring in rings:
        west = min(corner[0] for corner in ring)
        x = west + (lon - west) % 360.0
        x0, y0 = ring[-1]
        for x1, y1 in ring:
            if (y0 > lat) != (y1 > lat) and x0 + (lat - y0) * (x1 - x0) / (y1 - y0) > x:
                inside = not inside
            x0, y0 = x1, y1
    return inside


def _unbroken(ring: Ring) -> Ring:
    """The ring with longitudes beyond 180 degrees where it crosses that meridian: no edge goes round the globe."""
    corners = [(float(ring[0][0]), float(ring[0][1]))]
    for corner in ring[1:]:
        before = corners[-1][0]
        corners.append((before + (corner[0] - before + 180.0) % 360.0 - 180.0, float(corner[1])))
    return corners


def rings_of(polygon: Any) -> List[Ring]:
    """The rings of a polygon: a list of corners, a list of such rings, or either as JSON text."""
    if isinstance(polygon, str):
        try:
            polygon = json.loads(polygon)
        except ValueError as error:
            raise ValueError("the polygon is no JSON: %s" % error)
    if isinstance(polygon, dict) and polygon.get("type") == "Polygon":
        polygon = polygon.get("coordinates")
    if not isinstance(polygon, (list, tuple)) or not polygon:
        raise ValueError("a polygon is a list of corners [longitude, latitude], not %r" % (polygon,))
    if not (isinstance(polygon[0], (list, tuple)) and polygon[0] and isinstance(polygon[0][0], (list, tuple))):
        polygon = [polygon]
    for ring in polygon:
        if not isinstance(ring, (list, tuple)) or len(ring) < 3:
            raise ValueError("a polygon needs at least 3 corners, not %r" % (ring,))
        for corner in ring:
            if not isinstance(corner, (list, tuple)) or len(corner) < 2:
                raise ValueError("a corner is [longitude, latitude], not %r" % (corner,))
            check_place(corner[1], corner[0])
    return [_unbroken(ring) for ring in polygon]


class Zone:
    """A named circle or polygon, or several of them."""

    def __init__(self, name: str, geometry: Dict[str, Any], radius_m: Any = None):
        self.name, self._radius = name, radius_m
        self._centers: List[Tuple[float, float]] = []
        self._polygons: List[List[Ring]] = []
        kind, places = geometry.get("type"), geometry.get("coordinates")
        if kind in ("Point", "MultiPoint"):
            if isinstance(radius_m, bool) or not isinstance(radius_m, (int, float)) or not radius_m > 0:
                raise ValueError("zone %s is a point: its property radius must be meters above 0, not %r" % (name, radius_m))
            points = [places] if kind == "Point" else places
            self._centers = [check_place(point[1], point[0]) for point in points]
        elif kind in ("Polygon", "MultiPolygon"):
            self._polygons = [rings_of(polygon) for polygon in ([places] if kind == "Polygon" else places)]
        else:
            raise ValueError("zone %s: only Point, MultiPoint, Polygon and MultiPolygon are zones, not %r" % (name, kind))

    def holds(self, lat: float, lon: float) -> bool:
        """Whether the place is inside."""
        if any(distance_m(lat, lon, *center) <= self._radius for center in self._centers):
            return True
        return any(is_inside(lat, lon, polygon) for polygon in self._polygons)


def read_zones(document: Any) -> Dict[str, Zone]:
    """The zones of a GeoJSON document, by name and in its order."""
    if not isinstance(document, dict) or document.get("type") != "FeatureCollection":
        raise ValueError("zones are a GeoJSON object of type FeatureCollection")
    zones: Dict[str, Zone] = {}
    for number, feature in enumerate(document.get("features") or [], 1):
        properties = feature.get("properties") or {}
        name = properties.get("name")
        if not isinstance(name, str) or not name:
            raise ValueError("feature %d has no property name" % number)
        if name in zones:
            raise ValueError("two zones are called %s" % name)
        try:
            zones[name] = Zone(name, feature.get("geometry") or {}, properties.get("radius"))
        except (LookupError, TypeError) as error:
            raise ValueError("zone %s: coordinates cannot be read: %s" % (name, error))
    return zones
