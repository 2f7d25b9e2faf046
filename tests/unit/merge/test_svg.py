"""Specification of the report's drawings: what a drawing shows is what the numbers are."""

import re
import xml.etree.ElementTree as ElementTree

import numpy as np
import pytest
from numpy.typing import NDArray

from aerozarr.merge.svg import (
    COLOURS,
    Colouring,
    View,
    body,
    colour_rules,
    colouring,
    histogram,
    tick_texts,
    ticks,
)

Array = NDArray[np.float64]
FRONT = View(0, 2, 1)

WILD = {
    "constant": np.full((9, 1), 7.0),
    "zeros": np.zeros((9, 3)),
    "not finite": np.array([[np.nan], [np.inf], [-np.inf]]),
    "some not finite": np.array([[1.0], [np.nan], [2.0], [-np.inf]]),
    "none": np.empty((0, 3)),
    "no component": np.empty((4, 0)),
    "huge": np.array([[-1.7e308], [1.7e308], [0.0]]),
    "tiny": np.array([[5e-324], [1e-310]]),
    "almost constant": 1.0 + np.arange(9.0)[:, None] * 1e-16,
    "float16": np.array([[-65504.0], [65504.0], [6e-8]]),
    "many components": np.random.default_rng(0).normal(size=(50, 9)),
}


def texts(drawing: str) -> list[str]:
    return [element.text or "" for element in ElementTree.fromstring(drawing).iter("text")]


def dots(drawing: str) -> dict[str, list[tuple[float, float]]]:
    """Places of the points of a body, by class."""
    group = next(g for g in ElementTree.fromstring(drawing).iter("g") if g.get("class") == "dots")
    found: dict[str, list[tuple[float, float]]] = {}
    for path in group:
        places = re.findall(r"M([-\d.]+) ([-\d.]+)h0", path.attrib["d"])
        found.setdefault(path.attrib["class"], []).extend((float(x), float(y)) for x, y in places)
    return found


@pytest.mark.parametrize("values", WILD.values(), ids=WILD.keys())
def test_whatever_the_values_a_drawing_has_only_numbers_in_it(values: Array) -> None:
    positions = np.column_stack([values, values, values])[:, :3] if values.shape[1] else values
    drawings = [histogram(values, "h", unit="m")]
    if values.shape[1]:
        colours = colouring(values, "p")
        drawings.append(
            body(positions, values[:, 0], "b", view=View.of([positions]), colours=colours)
        )
    for drawing in drawings:
        ElementTree.fromstring(drawing)
        assert not re.search(r"nan|inf(?!inite)", drawing.replace("no finite", ""))


def test_a_histogram_has_a_step_for_each_bin_as_high_as_its_count() -> None:
    values = np.repeat([0.0, 1.0, 2.0, 3.0], [10, 40, 20, 30])[:, None]
    drawing = histogram(values, "h", bins=4)
    path = next(e.attrib["d"] for e in ElementTree.fromstring(drawing).iter("path"))
    start = re.match(r"M\S+ ([\d.]+)", path)
    assert start
    heights = [float(start[1]) - float(top) for top in re.findall(r"V([\d.]+)H", path)]
    assert [round(40 * height / max(heights)) for height in heights] == [10, 40, 20, 30]


def test_a_histogram_names_its_components_and_unit() -> None:
    three = histogram(np.random.default_rng(0).normal(size=(99, 3)), "h", unit="m/s")
    assert {"x", "y", "z", "m/s"} <= {*texts(three)}
    nine = histogram(np.random.default_rng(0).normal(size=(99, 9)), "h")
    assert not {"x", "y", "z"} & {*texts(nine)}
    assert texts(histogram(np.full((3, 1), np.nan), "h")) == ["no finite values"]


def test_a_body_is_as_long_across_as_up() -> None:
    corners = np.array([[0.0, 5.0, 0.0], [4.0, 5.0, 0.0], [0.0, 5.0, 1.0]])
    drawing = body(corners, None, "b", view=FRONT, colours=None, unit="m")
    (places,) = dots(drawing).values()
    (x0, y0), (x1, y1), (x2, y2) = sorted(places, key=lambda place: (-place[1], place[0]))
    assert (y1, x2) == (y0, x0)
    assert x1 - x0 == pytest.approx(4 * (y0 - y2), abs=0.5)  # up is up: y2 is above
    assert {"x (m)", "z (m)"} <= {*texts(drawing)}


def test_ticks_of_a_body_stand_where_their_values_are() -> None:
    points = np.array([[-2.0, 0.0, -1.0], [2.0, 0.0, 1.0], [1.0, 0.0, 1.0]])
    drawing = body(points, None, "b", view=FRONT, colours=None)
    marks = {
        element.text: float(element.attrib["x"])
        for element in ElementTree.fromstring(drawing).iter("text")
        if element.get("class") == "mid"
    }
    places = sorted(x for x, _ in next(iter(dots(drawing).values())))
    assert [marks["−2"], marks["1"], marks["2"]] == pytest.approx(places, abs=0.11)


def test_colours_follow_the_values_and_the_bar_says_which() -> None:
    points = np.array([[float(n), 0.0, float(n % 2)] for n in range(5)])
    values = np.array([-9.0, 0.0, 50.0, 100.0, np.nan])
    colours = Colouring(0.0, 100.0, "pressure (Pa)")
    drawing = body(points, values, "b", view=FRONT, colours=colours)
    by_class = {name: len(places) for name, places in dots(drawing).items()}
    assert by_class == {"k0": 2, f"k{COLOURS // 2}": 1, f"k{COLOURS - 1}": 1, "gap": 1}
    assert {"pressure (Pa)", "0", "50", "100"} <= {*texts(drawing)}


def test_the_two_percent_at_each_end_share_a_colour() -> None:
    colours = colouring(np.arange(101.0), "p")
    assert (colours.low, colours.high) == (2, 98)


def test_nearer_points_cover_those_behind_them() -> None:
    along = np.linspace(0, 1, 30)
    points = np.column_stack([np.zeros(30), along, np.zeros(30)])
    colours = Colouring(0.0, 1.0, "p")
    drawing = body(points, along, "b", view=FRONT, colours=colours)
    numbers = [int(n) for n in re.findall(r'<path class="k(\d+)" d="M[^"]*h0', drawing)]
    # x is across and z up, so y is seen from its lower end.
    assert numbers[0] > 15
    assert numbers[-1] < 4


def test_bodies_are_seen_along_the_axis_in_which_they_extend_least() -> None:
    flat = np.array([[0.0, 0.0, 0.0], [4.0, 1.0, 2.0], [np.nan, 99.0, 0.0]])
    assert View.of([flat]) == View(across=0, up=2, away=1)
    assert View.of([flat, flat * [1, 9, 1], np.empty((0, 3))]) == View(0, 1, 2)


@pytest.mark.parametrize(
    ("low", "high", "about", "wanted"),
    [
        (0, 10, 5, ["0", "2", "4", "6", "8", "10"]),
        (-1.1, 1.1, 4, ["−1", "0", "1"]),
        (0.00101, 0.00103, 4, ["0.00101", "0.001015", "0.00102", "0.001025", "0.00103"]),
        (100_000, 100_004, 4, ["100000", "100001", "100002", "100003", "100004"]),
        (-60_000, 60_000, 4, ["−50000", "0", "50000"]),
        (3e37, 3e38, 3, ["1e+38", "2e+38", "3e+38"]),
    ],
)
def test_ticks_are_round_and_told_apart(
    low: float, high: float, about: int, wanted: list[str]
) -> None:
    assert tick_texts(ticks(low, high, about)) == wanted


def test_both_schemes_have_a_colour_for_each_class() -> None:
    light, dark = colour_rules("light"), colour_rules("dark")
    names = [f".k{n}{{" for n in range(COLOURS)] + [".c0{", ".c1{", ".c2{"]
    for rules in (light, dark):
        assert [*re.findall(r"\.\w\d+\{", rules)] == names
    assert light != dark


def test_texts_of_the_data_are_escaped_and_shortened() -> None:
    drawing = body(
        np.eye(3), np.arange(3.0), '"><script>', view=FRONT,
        colours=Colouring(0, 1, "<b>" * 40), unit="<i>",
    )  # fmt: skip
    assert ElementTree.fromstring(drawing).attrib["aria-label"] == '"><script>'
    assert "<b>" not in drawing and "<i>" not in drawing
    assert max(len(text) for text in texts(drawing)) == 40
