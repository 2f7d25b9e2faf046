"""What a file map may say of raw files."""

from __future__ import annotations

from typing import Any

import pytest

from aerozarr.config.fields import domains_of
from aerozarr.config.filemap import files_in, read_filemap
from aerozarr.config.load_settings import load_settings
from aerozarr.config.raw_keys import RawKey, parse_raw_key
from aerozarr.errors import SettingsError


@pytest.mark.parametrize(
    ("text", "key"),
    [
        ("p", RawKey("p")),
        ("point:p", RawKey("p", "point")),
        ("cell:points", RawKey("points", "cell")),
        ("points", RawKey(association="point", derived="points")),
        ("cell_areas", RawKey(association="cell", derived="cell_areas")),
        ("resampled(50)", RawKey(association="sample", derived="resampled", count=50)),
        (
            "cell:signed_distance(b_*.stl)",
            RawKey(association="cell", derived="signed_distance", surface="b_*.stl"),
        ),
        ("resampled(0)", RawKey("resampled(0)")),
        ("total(p)_coeffMean", RawKey("total(p)_coeffMean")),
    ],
)
def test_keys(text: str, key: RawKey) -> None:
    assert parse_raw_key(text) == key


def test_patches_are_one_field() -> None:
    config = {
        "source_url": "source",
        "filemap": {
            "surface_position": ["hull.vtp::points", "k*.vtp::points"],
            "surface_pressure": "hull.vtp::U[:, 1] + k*.vtp::U[:, 1]",
        },
        "fields": {"surface_T": ["hull.vtp::T", "k*.vtp::T"]},
    }
    settings = load_settings(config)
    assert settings.filemap is not None
    (domain,) = domains_of(read_filemap(settings.filemap, where="filemap"), settings)
    assert [field.files for field in domain.fields] == [("hull.vtp", "k*.vtp")] * 3
    assert domain.fields[1].patches == (("k*.vtp", "U"),)
    assert domain.fields[1].columns == (1, 2)
    # The texts that decide what converts again are as they were for everything else.
    (plain,) = domains_of({"surface_position": "a.pt"}, load_settings({}))
    assert "patches" not in plain.described()["fields"][0]


@pytest.mark.parametrize(
    ("filemap", "message"),
    [
        ({"surface_position": "b.vtp"}, "Say which: b.vtp::points, b.vtp::cell_centers"),
        ({"surface_position": "b_*.stl[:, 0:3]"}, "holds a mesh and arrays on it"),
        ({"surface_position": "b.stl::points[:, 0:3]"}, "points has no columns to choose from"),
        ({"surface_position": "a.vtp::x[:, 0:3] + b.vtp::x"}, "patches of one field have the same"),
        (
            {"surface_position": "v.vtu::signed_distance(b.stl)"},
            "say of what the distance is, and to the surface of which file",
        ),
        ({"surface_position": "v.vtu::point:signed_distance(b.pt)"}, "the surface of which file"),
        ({"surface_position": ["a.vtp::points", "sub/b.vtp::points"]}, "is no file name"),
    ],
)
def test_refused(filemap: dict[str, Any], message: str) -> None:
    with pytest.raises(SettingsError, match=r"surface_position") as caught:
        read_filemap(filemap, where="filemap")
    assert message in str(caught.value)


def test_two_fields_of_one_array_have_to_say_which_columns() -> None:
    shared = {"surface_position": "a.vtp::U", "surface_pressure": "a.vtp::U[:, 2]"}
    with pytest.raises(SettingsError, match="is the file of surface_position and of"):
        read_filemap(shared, where="filemap")


def test_a_class_may_call_what_it_loads_as_it_likes() -> None:
    assert read_filemap({"surface_position": "b.vtp"}, where="FILEMAP", is_of_class=True)


def test_the_surface_of_a_distance_is_a_file_of_the_sample() -> None:
    filemap = {
        "volume_position": "v.vtu::points",
        "volume_distance_to_surface": "v.vtu::point:signed_distance(b_*.stl)",
    }
    assert files_in(read_filemap(filemap, where="filemap").values()) == ["v.vtu", "b_*.stl"]
    (domain,) = domains_of(filemap, load_settings({}))
    assert domain.fields[1].files == ("v.vtu", "b_*.stl")
