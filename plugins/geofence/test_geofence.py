"""python3 -m unittest, in this folder. Needs nothing but Python."""

import json
import os
import random
import sys
import tempfile
import unittest

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "..", "sdk"))

import geofence
import shapes
from thalweg_sdk import Context
from thalweg_sdk.testing import failures

SQUARE = [[0, 0], [10, 0], [10, 10], [0, 10]]


def inside(lat, lon, polygon):
    return shapes.is_inside(lat, lon, shapes.rings_of(polygon))


class Distance(unittest.TestCase):
    def test_a_quarter_of_the_globe_and_a_degree(self):
        self.assertAlmostEqual(shapes.distance_m(0, 0, 90, 0), 10_007_557, delta=1)
        self.assertAlmostEqual(shapes.distance_m(0, 179.5, 0, -179.5), 111_195, delta=1)
        self.assertEqual(shapes.distance_m(47, 8, 47, 8), 0.0)


class Polygon(unittest.TestCase):
    def test_a_hole_is_outside_and_an_island_in_it_inside(self):
        hole, island = [[2, 2], [8, 2], [8, 8], [2, 8]], [[4, 4], [6, 4], [6, 6], [4, 6]]
        found = [inside(y, x, [SQUARE, hole, island]) for x, y in ((1, 5), (3, 5), (5, 5), (11, 5))]
        self.assertEqual(found, [True, False, True, False])

    def test_the_ring_may_be_closed_or_open_and_turn_either_way(self):
        for ring in (SQUARE, SQUARE[::-1], SQUARE + SQUARE[:1]):
            self.assertTrue(inside(5, 5, ring))
            self.assertFalse(inside(5, 15, ring))

    def test_random_places_in_a_random_triangle_agree_with_the_signs_of_areas(self):
        random.seed(9)
        for _ in range(2_000):
            a, b, c, p = [(random.uniform(-20, 20), random.uniform(-20, 20)) for _ in range(4)]
            signs = [
                (v[0] - u[0]) * (p[1] - u[1]) - (v[1] - u[1]) * (p[0] - u[0]) > 0 for u, v in ((a, b), (b, c), (c, a))
            ]
            self.assertEqual(inside(p[1], p[0], [a, b, c]), len(set(signs)) == 1, (a, b, c, p))

    def test_a_zone_across_the_180th_meridian_holds_what_is_in_it(self):
        for ring in ([[178, -20], [-178, -20], [-178, -10], [178, -10]], [[178, -20], [182, -20], [182, -10], [178, -10]]):
            places = [inside(-15, lon, ring) for lon in (179, 180, -179, 181, 177, -177, 0)]
            self.assertEqual(places, [True, True, True, True, False, False, False])

    def test_what_is_no_polygon_is_told(self):
        for wrong, text in (
            ([], "list of corners"),
            ([[0, 0], [1, 1]], "at least 3 corners"),
            ([[0, 0], [1, 1], [5]], "a corner is"),
            ([[0, 0], [1, 1], [5, 95]], "latitude"),
            ("{", "no JSON"),
        ):
            with self.assertRaisesRegex(ValueError, text):
                shapes.rings_of(wrong)


class Zones(unittest.TestCase):
    def write(self, *features):
        with open(self.path, "w", encoding="utf-8") as file:
            json.dump({"type": "FeatureCollection", "features": list(features)}, file)

    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.path = os.path.join(folder.name, "zones.json")
        self.square = {"properties": {"name": "a"}, "geometry": {"type": "Polygon", "coordinates": [SQUARE]}}

    def look(self, file):
        file._next_look = 0.0
        return list(file.zones())

    def test_a_changed_file_is_read_again_and_a_broken_one_is_not(self):
        file = geofence.ZoneFile(self.path)
        with self.assertRaisesRegex(ValueError, "no zones: .*No such file.*GEOFENCE_ZONES"):
            file.zones()
        self.write(self.square)
        self.assertEqual(self.look(file), ["a"])
        circle = {"properties": {"name": "c", "radius": 10}, "geometry": {"type": "Point", "coordinates": [0, 0]}}
        self.write(self.square, circle)
        self.assertEqual(self.look(file), ["a", "c"])
        with open(self.path, "w", encoding="utf-8") as broken:
            broken.write("{")
        with self.assertLogs(level="ERROR") as log:
            self.assertEqual(self.look(file), ["a", "c"])
        self.assertIn("zones stay as they were", log.output[0])

    def test_the_configuration_names_the_file(self):
        self.write(self.square)
        ctx = Context({"ruleId": "r"}, config={"zones": self.path})
        self.assertEqual(geofence.zones_at(5, 5, ctx), ["a"])
        self.assertEqual(geofence.in_zone(5, 15, "a", ctx), False)
        self.assertEqual(geofence.zones_at(5, 5), [])

    def test_each_mistake_names_its_zone(self):
        point = {"type": "Point", "coordinates": [0, 0]}
        for features, text in (
            ([{"geometry": point}], "feature 1 has no property name"),
            ([self.square, self.square], "two zones are called a"),
            ([{"properties": {"name": "p"}, "geometry": point}], "zone p is a point: its property radius"),
            ([{"properties": {"name": "l"}, "geometry": {"type": "LineString"}}], "zone l: only Point"),
            ([{"properties": {"name": "m", "radius": 1}, "geometry": {"type": "Point"}}], "zone m: coordinates"),
        ):
            with self.assertRaisesRegex(ValueError, text):
                shapes.read_zones({"type": "FeatureCollection", "features": features})

    def test_several_polygons_and_circles_are_one_zone(self):
        far = [[corner[0] + 50, corner[1]] for corner in SQUARE]
        both = shapes.Zone("b", {"type": "MultiPolygon", "coordinates": [[SQUARE], [far]]})
        self.assertEqual([both.holds(5, lon) for lon in (5, 55, 30)], [True, True, False])
        masts = shapes.Zone("m", {"type": "MultiPoint", "coordinates": [[0, 0], [1, 0]]}, 1000)
        self.assertEqual([masts.holds(0, lon) for lon in (0.001, 1.001, 0.5)], [True, True, False])


class Plugin(unittest.TestCase):
    def test_the_cases_come_out_by_call_batch_and_frame(self):
        self.assertEqual(failures(HERE), "")


if __name__ == "__main__":
    unittest.main()
