"""Specification of datasets: the presets, and classes that carry a file map."""

from __future__ import annotations

import sys
import uuid
from pathlib import Path

import pytest

from aerozarr.config.filemap import with_optional
from aerozarr.errors import SettingsError
from aerozarr.source import datasets
from aerozarr.source.datasets import import_class
from unit.class_helpers import Module, resolve
from unit.listing_helpers import LocalTree, ids, listing_of

SHAPENET_CAR = {
    "surface_position": "surface_points.pt",
    "surface_pressure": "surface_pressure.pt",
    "surface_normals": "surface_normals.pt",
    "volume_position": "volume_points.pt",
    "volume_velocity": "volume_velocity.pt",
    "volume_distance_to_surface": "volume_sdf.pt",
    "volume_normals": "volume_normals.pt",
}
DRIVAERML = {
    "surface_position": "surface_position_vtp.pt",
    "surface_pressure": "surface_pressure.pt",
    "surface_friction": "surface_wallshearstress.pt",
    "volume_position": "volume_cell_position.pt",
    "volume_pressure": "volume_cell_totalpcoeff.pt",
    "volume_velocity": "volume_cell_velocity.pt",
    "volume_vorticity": "volume_cell_vorticity.pt",
}
FILE_MAPS = {
    "example": SHAPENET_CAR,
    "shapenet_car": SHAPENET_CAR,
    "drivaerml": DRIVAERML,
    "ahmedml": DRIVAERML,
    "drivaernet": {
        "surface_position": "surface_position.pt",
        "surface_pressure": "surface_p.pt",
        "surface_friction": "surface_wallShearStress.pt",
        "volume_position": "volume_position.pt",
        "volume_pressure": "volume_p.pt",
        "volume_velocity": "volume_U.pt",
        "volume_friction": "volume_wallShearStress.pt",
        "volume_vorticity": "volume_vorticity.pt",
    },
    "emmi_wing": {
        "surface_position": "surface_position.pt",
        "surface_pressure": "surface_pressure.pt",
        "surface_friction": "surface_wall_shear_stress.pt",
        "volume_position": "volume_position.pt",
        "volume_pressure": "volume_pressure.pt",
        "volume_velocity": "volume_velocity.pt",
        "volume_vorticity": "volume_vorticity.pt",
        "design_parameters": "design_parameters.pt",
    },
}
SMALL = {"surface_position": "points.pt", "surface_pressure": "p.pt"}


# Presets


@pytest.mark.parametrize("name", FILE_MAPS)
def test_the_file_map_of_a_preset_is_that_of_the_format(name: str) -> None:
    assert with_optional(resolve(name).filemap, ()) == FILE_MAPS[name]


@pytest.mark.parametrize("name", ["drivaerml", "ahmedml"])
def test_normals_and_areas_are_optional(name: str) -> None:
    found = with_optional(resolve(name).filemap, {"surface_normal_vtp.pt", "surface_area_vtp.pt"})
    assert found == FILE_MAPS[name] | {
        "surface_normals": "surface_normal_vtp.pt",
        "surface_area": "surface_area_vtp.pt",
    }


@pytest.mark.parametrize("name", FILE_MAPS)
def test_a_preset_gives_the_manifest_its_name(name: str) -> None:
    assert resolve(name).name == name


def test_every_preset_of_the_format_is_there() -> None:
    assert set(FILE_MAPS) <= set(datasets.preset_names())


def test_a_file_map_of_ones_own_takes_the_place_of_the_presets() -> None:
    own = resolve("shapenet_car", filemap=SMALL)
    assert own.filemap == SMALL
    assert own.name == "shapenet_car"
    assert own.subfolder == "preprocessed"


@pytest.mark.parametrize(
    ("written", "nearest"),
    [
        ("ShapeNet-Car", "shapenet_car"),
        ("shapenet", "shapenet_car"),
        ("DrivAerML", "drivaerml"),
        ("AhmedML", "ahmedml"),
        ("DrivAerNet", "drivaernet"),
        ("DrivAerNet++", "drivaernet"),
        ("Emmi-Wing", "emmi_wing"),
        ("exmple", "example"),
    ],
)
def test_an_unknown_dataset_is_refused_with_the_nearest_preset(written: str, nearest: str) -> None:
    with pytest.raises(SettingsError) as caught:
        resolve(written)
    message = str(caught.value)
    assert message.startswith("dataset: ")
    assert repr(written) in message
    assert f"Did you mean {nearest}?" in message
    assert "package.module.Class" in message


@pytest.mark.parametrize("name", FILE_MAPS)
def test_an_unknown_dataset_is_refused_with_all_presets(name: str) -> None:
    with pytest.raises(SettingsError, match=rf"\b{name}\b"):
        resolve("zzzzzz")


@pytest.mark.parametrize("name", ["../datasets/example", "/etc/passwd", "sub/shapenet_car"])
def test_a_preset_is_a_name_and_no_path(name: str) -> None:
    with pytest.raises(SettingsError, match=r"^dataset: "):
        resolve(name)


PRESET = """
filemap: {surface_position: points.pt, surface_pressure: p.pt}
splits:
  rule: folders
  parts: {train: [a, b]}
"""


@pytest.fixture
def preset_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(datasets, "PRESETS", tmp_path)
    return tmp_path


def test_adding_a_dataset_is_adding_a_file(preset_folder: Path) -> None:
    (preset_folder / "boats.yaml").write_text(PRESET)
    tree = LocalTree(preset_folder / "data")
    for sample in ("b/1", "a/2", "c/3"):
        tree.sample(sample, SMALL.values())
    listing = listing_of(dataset="boats", filemap=None, source_root=tree.url, splits=["train"])
    assert ids(listing) == ["a/2", "b/1"]
    assert resolve("boats").name == "boats"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "- a list",
        "filemap: [unclosed",
        "splits: null",
        PRESET + "spilts: null",
        PRESET.replace("folders", "guesses"),
        PRESET.replace("parts", "prats"),
        PRESET.replace("surface_pressure", "surface_presure"),
        PRESET.replace("surface_position", "volume_velocity"),
    ],
    ids=[
        "is empty",
        "is a list",
        "is no YAML",
        "has no file map",
        "has an unknown key",
        "has an unknown split rule",
        "has an unknown key in its rule",
        "has an unknown attribute",
        "has no position",
    ],
)
def test_a_preset_is_refused_that(text: str, preset_folder: Path) -> None:
    (preset_folder / "boats.yaml").write_text(text)
    with pytest.raises(SettingsError, match="boats"):
        resolve("boats")


# Where a class carries its file map

CARRIERS = {
    "in FILEMAP": "class Cars: FILEMAP = {map}",
    "in FILEMAP of a base": """
        class Base: FILEMAP = {map}
        class Cars(Base): pass
        """,
    "in FILEMAP before the default of __init__": """
        class Cars:
            FILEMAP = {map}
            def __init__(self, filemap={other}): pass
        """,
    "in FILEMAP before an object of the module": """
        OTHER = {other}
        class Cars: FILEMAP = {map}
        """,
    "in the default of __init__": """
        class Cars:
            def __init__(self, root, split="train", filemap={map}): pass
        """,
    "in the default of a keyword-only parameter": """
        class Cars:
            def __init__(self, root, *, filemap={map}): pass
        """,
    "in the default of a base, whose __init__ is inherited": """
        class Base:
            def __init__(self, filemap={map}): pass
        class Cars(Base): pass
        """,
    "in the default of a far base, past one without it": """
        class Root:
            def __init__(self, filemap={map}): pass
        class Middle(Root):
            def __init__(self, *args, **kwargs): super().__init__(*args, **kwargs)
        class Cars(Middle):
            def __init__(self, root): super().__init__()
        """,
    "in the default of a base, past one that is None": """
        class Base:
            def __init__(self, filemap={map}): pass
        class Cars(Base):
            def __init__(self, filemap=None): super().__init__(filemap or {map})
        """,
    "in the default of a base, past one that has to be given": """
        class Base:
            def __init__(self, filemap={map}): pass
        class Cars(Base):
            def __init__(self, filemap): super().__init__(filemap)
        """,
    "in its module, past a parameter that has to be given": """
        CAR_FILES = {map}
        class Cars:
            def __init__(self, filemap): pass
        """,
    "in the default of the nearest base": """
        class Root:
            def __init__(self, filemap={other}): pass
        class Cars(Root):
            def __init__(self, filemap={map}): pass
        """,
    "in the default of the second of two bases": """
        class Mixin: pass
        class Base:
            def __init__(self, filemap={map}): pass
        class Cars(Mixin, Base): pass
        """,
    "in a default before an object of the module": """
        OTHER = {other}
        class Cars:
            def __init__(self, filemap={map}): pass
        """,
    "in a mapping of its module": """
        CAR_FILES = {map}
        class Cars: pass
        """,
    "in a dataclass of its module": """
        from dataclasses import dataclass
        @dataclass(frozen=True)
        class Map:
            surface_position: str
            surface_pressure: str | None = None
            volume_position: str | None = None
        CAR_FILES = Map(**{map})
        class Cars: pass
        """,
    "in a pydantic model of its module": """
        from pydantic import BaseModel
        class Map(BaseModel):
            surface_position: str | None = None
            surface_pressure: str | None = None
        CAR_FILES = Map(**{map})
        class Cars: pass
        """,
    "in two objects of its module that agree": """
        CAR_FILES = {map}
        DEFAULT = dict(reversed(CAR_FILES.items()))
        class Cars: pass
        """,
    "in a mapping beside others that are none": """
        import os
        UNITS = dict(pressure="Pa")
        EMPTY = dict()
        LIMITS = dict(surface_pressure="x", unknown_attribute="y")
        CAR_FILES = {map}
        def helper(): pass
        class Cars: pass
        """,
    "in a mapping beside statistics by field": """
        MEAN = dict(surface_pressure=-1.5, volume_velocity=[1.0, 2.0, 3.0])
        CAR_FILES = {map}
        class Cars: pass
        """,
}


@pytest.mark.parametrize("text", list(CARRIERS.values()), ids=list(CARRIERS))
def test_the_file_map_of_a_class_is_found(text: str, module: Module) -> None:
    other = {"surface_position": "other.pt"}
    name = module(text.replace("{map}", repr(SMALL)).replace("{other}", repr(other)))
    found = resolve(f"{name}.Cars")
    assert found.filemap == SMALL
    assert found.name == "Cars"


def test_the_class_may_lie_in_a_package_that_only_passes_it_on(module: Module) -> None:
    inner = module(f"CAR_FILES = {SMALL}\nclass Cars: pass")
    outer = module(f"from {inner} import Cars")
    assert resolve(f"{outer}.Cars").filemap == SMALL


def test_the_setting_filemap_comes_before_what_a_class_carries(module: Module) -> None:
    name = module("class Cars: FILEMAP = {'surface_position': 'other.pt'}")
    assert resolve(f"{name}.Cars", filemap=SMALL).filemap == SMALL


def test_the_setting_filemap_serves_a_class_that_carries_none(module: Module) -> None:
    name = module("class Cars: pass")
    assert resolve(f"{name}.Cars", filemap=SMALL).filemap == SMALL


def test_a_module_of_the_working_directory_is_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.chdir(tmp_path)
    name = f"m{uuid.uuid4().hex}"
    (tmp_path / f"{name}.py").write_text(f"class Cars: FILEMAP = {SMALL}")
    assert resolve(f"{name}.Cars").filemap == SMALL


REFUSED_CLASSES = {
    "carries none": ("class Cars: pass", ["no file map", "FILEMAP", "set filemap"]),
    "lies in a module with two that differ": (
        """
        ONE = {"surface_position": "a.pt"}
        TWO = {"surface_position": "b.pt"}
        class Cars: pass
        """,
        ["several", "ONE", "TWO", "FILEMAP"],
    ),
    "carries one with an unknown attribute": (
        "class Cars: FILEMAP = {'surface_positoin': 'a.pt'}",
        ["'surface_positoin'", "Did you mean surface_position?"],
    ),
    "has a module whose file map has an unknown attribute": (
        """
        MAP = {"surface_position": "a.pt", "surface_presure": "b.pt"}
        class Cars: pass
        """,
        ["'surface_presure'", "Did you mean surface_pressure?"],
    ),
    "carries an object with an unknown attribute": (
        """
        class Map:
            surface_position = "a.pt"
            surface_presure = "b.pt"
        class Cars: FILEMAP = Map()
        """,
        ["'surface_presure'", "Did you mean surface_pressure?"],
    ),
    "carries one without a position": (
        "class Cars: FILEMAP = {'volume_velocity': 'u.pt'}",
        ["volume_position"],
    ),
    "is no class": ("Cars = 3", ["no class 'Cars'"]),
    "is a function": ("def Cars(): pass", ["no class 'Cars'"]),
    "is not in the module": ("class Carz: pass", ["no class 'Cars'", "Did you mean Carz?"]),
    "lies in a module that does not compile": ("class Cars(:", ["SyntaxError"]),
    "lies in a module that raises": ("raise RuntimeError('out of luck')", ["out of luck"]),
    "lies in a module that needs another": ("import not_installed_xyz", ["not_installed_xyz"]),
}


@pytest.mark.parametrize(
    ("text", "parts"), list(REFUSED_CLASSES.values()), ids=list(REFUSED_CLASSES)
)
def test_a_class_is_refused_that(text: str, parts: list[str], module: Module) -> None:
    dotted = f"{module(text)}.Cars"
    with pytest.raises(SettingsError) as caught:
        resolve(dotted)
    message = str(caught.value)
    assert message.startswith(f"dataset: {dotted!r}")
    for part in parts:
        assert part in message


@pytest.mark.parametrize(
    "dotted", ["no_such_module.Cars", "json.no.Such", ".Cars", "a..b", "json."]
)
def test_a_dotted_path_that_leads_nowhere_is_refused(dotted: str) -> None:
    with pytest.raises(SettingsError) as caught:
        import_class(dotted)
    assert str(caught.value).startswith(f"dataset: {dotted!r}")
