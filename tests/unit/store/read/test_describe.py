"""Specification of what a store says of itself, and of the pictures that it draws."""

from __future__ import annotations

import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest

from aerozarr import Store, StoreError, StoreWriter

SCRIPTS = Path(__file__).parents[4] / "scripts"
NAME = "wind <script>alert(1)</script> $\\frac{"


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    """Two samples on a flat ellipse, with units that are no formulas, and values not finite."""
    folder = tmp_path_factory.mktemp("described") / "store"
    fields = {
        "volume_position": {"unit": "m"},
        "volume_velocity": {"unit": "m/s $\\frac{"},
        "wake_position": {"width": 3, "kind": "coord"},
    }
    writer = StoreWriter(folder, {"dataset_name": NAME, "fields": fields, "chunk_points": 256})
    for number in range(2):
        angle = np.linspace(0, 2 * np.pi, 1000 + 200 * number)
        places = np.stack([4 * np.cos(angle), np.sin(angle), 0 * angle], axis=1)
        velocity = places * [1, 2, 3]
        velocity[:10] = np.nan
        arrays = {"volume_position": places, "volume_velocity": velocity}
        writer.write(f"run_{number}", {**arrays, "wake_position": places[:50]})
    writer.finish()
    return Store(folder)


def test_it_prints_samples_domains_fields_points_and_size(store: Store) -> None:
    # 1,000 and 1,200 points of 3 × 4 and 3 × 2 bytes, and 50 of 3 × 4 each.
    first, volume, wake = repr(store).splitlines()
    assert first.endswith("store': 2 samples, 40.8 kB of values")
    assert volume == (
        "  volume, 1,000 to 1,200 points: volume_position (float32 × 3), "
        "volume_velocity (float16 × 3)"
    )
    assert wake == "  wake, 50 points: wake_position (float32 × 3)>"


def test_a_notebook_gets_the_same_and_nothing_of_a_store_becomes_html(store: Store) -> None:
    html = store._repr_html_()
    parser = HTMLParser()
    tags, texts = set[str](), list[str]()
    parser.handle_starttag = lambda tag, _: tags.add(tag)  # type: ignore[method-assign] # a hook
    parser.handle_data = texts.append  # type: ignore[method-assign] # likewise
    parser.feed(html)
    assert tags == {"div", "p", "strong", "code", "table", "thead", "tbody", "tr", "th", "td"}
    for expected in (NAME, "volume_velocity", "float16 × 3", "1,000 to 1,200 points", "run_1"):
        assert expected in texts


def drawn(figure: object) -> np.ndarray:
    figure.canvas.draw()  # type: ignore[attr-defined] # of matplotlib
    return np.asarray(figure.axes[0].collections[0]._offsets3d)  # type: ignore[attr-defined] # of matplotlib


def test_a_picture_shows_points_units_and_a_colour_bar(store: Store, tmp_path: Path) -> None:
    figure = store.plot("run_1", "volume_velocity", points=500)
    body, bar = figure.axes
    places = drawn(figure)
    finite = drawn(store.plot("run_1", "volume_velocity"))
    assert finite.shape == (3, 1190)  # all but those whose value is NaN
    assert 480 <= places.shape[1] <= 500
    np.testing.assert_array_equal(places, drawn(store.plot("run_1", "volume_velocity", points=500)))
    labels = [body.get_xlabel(), body.get_ylabel(), body.get_zlabel()]
    assert labels == ["x (m)", "y (m)", "z (m)"]
    assert bar.get_ylabel() == "|volume_velocity| (m/s $\\frac{)"
    assert body.get_title() == "run_1"
    # A metre is as long along each axis.
    extents = np.ptp([body.get_xlim(), body.get_ylim(), body.get_zlim()], axis=1)
    np.testing.assert_allclose(extents / extents[0], body._box_aspect / body._box_aspect[0])
    figure.savefig(tmp_path / "body.png")
    assert (tmp_path / "body.png").stat().st_size > 10_000
    assert figure._repr_png_().startswith(b"\x89PNG")


def test_a_component_and_axes_of_ones_own(store: Store) -> None:
    from matplotlib.figure import Figure

    figure = Figure()
    axes = figure.add_subplot(1, 2, 2, projection="3d")
    assert store.plot("run_0", "volume_velocity", component=1, ax=axes) is figure
    assert figure.axes[1].get_ylabel() == "volume_velocity, component 1 (m/s $\\frac{)"
    values = axes.collections[0].get_array()
    assert values is not None and values.min() == -values.max() == -2
    # Where there is nothing else, positions are coloured by themselves.
    figure = store.plot("run_0", "wake_position")
    assert figure.axes[1].get_ylabel() == "|wake_position|"


@pytest.mark.parametrize(
    ("arguments", "what"),
    [
        ({"sample": "run_9"}, "no sample 'run_9'"),
        ({"field": "volume_velocit"}, "Did you mean volume_velocity"),
        ({"field": "volume_velocity", "component": 3}, "component is 3, and volume_velocity has 3"),
        ({"points": 0}, "points is 0"),
    ],
)
def test_what_cannot_be_drawn_is_told(
    store: Store, arguments: dict[str, object], what: str
) -> None:
    with pytest.raises(StoreError, match=what):
        store.plot(**{"sample": "run_0", **arguments})  # type: ignore[arg-type]


def test_without_matplotlib_a_message_and_with_it_no_state_of_pyplot(store: Store) -> None:
    code = """
import sys
from aerozarr import Store
store = Store(sys.argv[1])
repr(store), store._repr_html_()
assert not any(name.startswith("matplotlib") for name in sys.modules)
sys.modules["matplotlib"] = None
try:
    store.plot("run_0")
except ImportError as error:
    print(error)
del sys.modules["matplotlib"]
store.plot("run_0")
assert "matplotlib.pyplot" not in sys.modules
"""
    run = subprocess.run(
        [sys.executable, "-c", code, store._place],
        cwd=SCRIPTS,
        capture_output=True,
        check=True,
        text=True,
    )
    assert run.stdout == (
        "Store.plot draws with matplotlib, which is not installed. Install it: "
        "pip install matplotlib.\n"
    )
