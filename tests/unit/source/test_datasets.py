"""Specification of datasets: the presets' file maps, and classes given by a dotted path."""

from __future__ import annotations

import sys
import textwrap
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from aerozarr.config.filemap import with_optional
from aerozarr.config.load_settings import load_settings
from aerozarr.errors import SettingsError
from aerozarr.source import datasets
from aerozarr.source.by_class import ClassSamples
from aerozarr.source.datasets import import_class, resolve_dataset
from unit.listing_helpers import FILEMAP, LocalTree, ids, listing_of, skipped

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

Module = Callable[[str], str]


def resolve(dataset: str, **config: Any) -> datasets.Dataset:
    return resolve_dataset(load_settings({"dataset": dataset, "source_url": "/data", **config}))


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Module]:
    """Write a module that can be imported, and return its name."""
    folder = tmp_path / "modules"
    folder.mkdir()
    monkeypatch.syspath_prepend(folder)
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    names = []

    def write(text: str) -> str:
        names.append(f"m{uuid.uuid4().hex}")
        (folder / f"{names[-1]}.py").write_text(textwrap.dedent(text), encoding="utf-8")
        return names[-1]

    yield write
    for name in names:
        sys.modules.pop(name, None)


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


# Classes that bring their samples

SAMPLES = """
class Cars:
    FILEMAP = {map}
    def __init__(self, root, split):
        self.root, self.split = root, split
        self.names = {"train": ["t0", "t1", "t2"], "test": ["e0", "e1"]}[split]
    def __len__(self):
        return len(self.names)
    def sample_info(self, index):
        return {"run_name": self.names[index]}
    def _load(self, index, filename):
        return (self.root, self.split, index, filename)
""".replace("{map}", repr(FILEMAP))


def build(dotted: str, root: str = "/root", split: str = "train") -> ClassSamples:
    return ClassSamples(import_class(dotted), root, split, FILEMAP)


@pytest.mark.parametrize(
    ("parameters", "stored"),
    [
        ("root, split", "root, split"),
        ("split, root", "root, split"),
        ("*, root, split", "root, split"),
        ("root, mode", "root, mode"),
        ("data_root, subset", "data_root, subset"),
        ("source_root, split", "source_root, split"),
        ("dataset_root, split='val'", "dataset_root, split"),
        ("path, split, verbose=False", "path, split"),
        ("**options", "options['root'], options['split']"),
        ("split, **options", "options['root'], split"),
    ],
)
def test_a_class_is_built_for_a_split_with_the_root(
    parameters: str, stored: str, module: Module
) -> None:
    text = f"""
        class Cars:
            def __init__(self, {parameters}): self.built = ({stored})
            def __len__(self): return 1
            def _load(self, index, filename): return self.built
        """
    assert build(f"{module(text)}.Cars", "/here", "test").load(0, "x") == ("/here", "test")


@pytest.mark.parametrize(
    ("parameter", "expected"),
    [("filemap", FILEMAP), ("filemap=None", None)],
    ids=["without a default is given the one in use", "with a default keeps it"],
)
def test_a_parameter_filemap(parameter: str, expected: object, module: Module) -> None:
    text = f"""
        class Cars:
            def __init__(self, root, split, {parameter}): self.filemap = filemap
            def __len__(self): return 1
            def _load(self, index, filename): return self.filemap
        """
    assert build(f"{module(text)}.Cars").load(0, "x") == expected


@pytest.mark.parametrize(
    ("parameters", "missing"), [("split", "root"), ("root", "split"), ("", "root")]
)
def test_a_class_without_a_parameter_for_it_is_refused(
    parameters: str, missing: str, module: Module
) -> None:
    text = f"""
        class Cars:
            def __init__(self, {parameters}): pass
            def __len__(self): return 1
            def _load(self, index, filename): pass
        """
    with pytest.raises(SettingsError, match=rf"Cars.*no parameter.*\b{missing}\b"):
        build(f"{module(text)}.Cars")


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ('def sample_info(self, i): return {"run_name": f"run_{i}"}', ["run_0", "run_1"]),
        ('def sample_info(self, i): return {"design_id": f"E_{i}"}', ["E_0", "E_1"]),
        (
            'def sample_info(self, i): return {"design_id": "no", "run_name": f"run_{i}"}',
            ["run_0", "run_1"],
        ),
        (
            'def sample_info(self, i): return {"run_name": None, "design_id": f"E_{i}"}',
            ["E_0", "E_1"],
        ),
        ('def sample_info(self, i): return {"run_name": 10 + i}', ["10", "11"]),
        ('design_ids = ["E_7", "E_5"]', ["E_7", "E_5"]),
        ("design_ids = [7, 5]", ["7", "5"]),
        (
            'design_ids = ["E_7", "E_5"]\n    def sample_info(self, i): return {"split": "train"}',
            ["E_7", "E_5"],
        ),
        ("def sample_info(self, i): return {}", ["0", "1"]),
        ("def sample_info(self, i): return None", ["0", "1"]),
        ("pass", ["0", "1"]),
    ],
    ids=[
        "its run_name",
        "its design_id",
        "its run_name before its design_id",
        "its design_id where run_name is None",
        "a number as text",
        "its entry in design_ids",
        "its number in design_ids as text",
        "its entry in design_ids where sample_info has none",
        "its index where sample_info is empty",
        "its index where sample_info is None",
        "its index",
    ],
)
def test_the_id_of_a_sample_of_a_class_is(body: str, expected: list[str], module: Module) -> None:
    text = f"""
class Cars:
    def __init__(self, root, split): pass
    def __len__(self): return 2
    def _load(self, index, filename): pass
    {body}
"""
    samples = build(f"{module(text)}.Cars")
    assert [samples.sample_id(index) for index in range(len(samples))] == expected


def test_a_field_is_loaded_by_index_and_file_name(module: Module) -> None:
    samples = build(f"{module(SAMPLES)}.Cars", "/data/cars", "test")
    assert len(samples) == 2
    assert samples.load(1, "points.pt") == ("/data/cars", "test", 1, "points.pt")


@pytest.mark.parametrize(
    ("config", "brings"),
    [({"source_root": "/data", "source_url": None}, True), ({}, False)],
    ids=["for a root", "not for a listed prefix"],
)
def test_a_class_brings_its_samples(config: dict[str, Any], brings: bool, module: Module) -> None:
    found = resolve(f"{module(SAMPLES)}.Cars", **config)
    assert (found.sample_class is not None) == brings


CONFIGURED = """
from __future__ import annotations
import dataclasses
from typing import Literal, Optional
from pydantic import BaseModel

{config}

class Base:
    def __init__(self, dataset_config: {hint}, scale: float = 1.0):
        self.config, self.scale = dataset_config, scale
    def __len__(self): return 1
    def _load(self, index, filename): return self.config
    def __getitem__(self, index): raise NotImplementedError

class Cars(Base):
    FILEMAP = {map}
"""
PYDANTIC = """
class Config(BaseModel):
    kind: str
    root: str
    split: Literal["train", "test"]
    cutoff: int = 3
"""
DATACLASS = """
@dataclasses.dataclass
class Config:
    root: str
    split: str
    kind: Literal["cars"]
    cutoff: int = 3
    names: list[str] = dataclasses.field(default_factory=list)
"""


def configured(config: str, hint: str = "Config") -> str:
    return CONFIGURED.format(config=config, hint=hint, map=repr(FILEMAP))


@pytest.mark.parametrize("hint", ["Config", "Config | None", "Optional[Config]"])
@pytest.mark.parametrize(("config", "kind"), [(PYDANTIC, "{}.Cars"), (DATACLASS, "cars")])
def test_a_class_with_a_configuration_object_is_built_from_the_type_hint(
    config: str, kind: str, hint: str, module: Module
) -> None:
    name = module(configured(config, hint))
    built = build(f"{name}.Cars", "/here", "test").load(0, "x")
    assert (built.root, built.split, built.cutoff) == ("/here", "test", 3)
    assert built.kind == kind.format(name)


def test_arguments_go_to_the_configuration_object_or_to_the_class(module: Module) -> None:
    found = import_class(f"{module(configured(PYDANTIC))}.Cars")
    arguments = {"cutoff": 7, "scale": 0.5, "kind": "mine"}
    samples = ClassSamples(found, "/here", "test", FILEMAP, arguments)
    assert (samples.instance.config.cutoff, samples.instance.config.kind) == (7, "mine")
    assert samples.instance.scale == 0.5


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"cutof": 7}, "dataset_args: Cars takes no 'cutof'. Did you mean cutoff?"),
        ({}, "Cars needs 'folder' to be built. Set dataset_args: {folder: …}"),
    ],
)
def test_arguments_that_are_wrong_or_missing_are_named(
    arguments: dict[str, Any], message: str, module: Module
) -> None:
    needs = "" if arguments else "    folder: str\n"
    found = import_class(f"{module(configured(PYDANTIC + needs))}.Cars")
    with pytest.raises(SettingsError) as error:
        ClassSamples(found, "/here", "test", FILEMAP, arguments)
    assert message in str(error.value)


def test_a_plain_argument_that_is_missing_is_named(module: Module) -> None:
    text = """
        class Cars:
            def __init__(self, root, split, scale): pass
            def __len__(self): return 1
            def _load(self, index, filename): pass
        """
    with pytest.raises(SettingsError, match=r"Cars needs 'scale'.*dataset_args: \{scale: …\}"):
        build(f"{module(text)}.Cars")


@pytest.mark.parametrize("carried", ["self.filemap = {map}", "type(self).filemap = {map}"])
def test_the_file_map_of_an_object_counts_for_a_root(carried: str, module: Module) -> None:
    text = f"""
class Cars:
    def __init__(self, root, split):
        if split == "val": raise ValueError(split)
        {carried.format(map=repr(FILEMAP))}
    def __len__(self): return 1
    def _load(self, index, filename): pass
"""
    name = module(text)
    root = {"source_root": "/data", "source_url": None, "splits": ["val", "test"]}
    assert resolve(f"{name}.Cars", **root).filemap == FILEMAP
    with pytest.raises(SettingsError, match="carries no file map"):
        resolve(f"{name}.Cars")


def test_a_class_in_another_module_finds_the_file_map_beside_its_base(module: Module) -> None:
    base = module(f"FILES = {FILEMAP}\nclass Base: pass")
    name = module(f"from {base} import Base\nclass Cars(Base): pass")
    assert resolve(f"{name}.Cars").filemap == FILEMAP


def test_what_a_class_loads_by_is_its_own_business(module: Module) -> None:
    paths = {"surface_position": "mesh/points.pt", "surface_pressure": "../p.pt"}
    name = module(SAMPLES.replace(repr(FILEMAP), repr(paths)))
    found = resolve(f"{name}.Cars", source_root="/data", source_url=None)
    assert found.filemap == paths
    with pytest.raises(SettingsError, match="is no file name"):
        resolve(f"{name}.Cars")


def test_a_class_that_cannot_load_a_field_is_told_what_it_lacks(module: Module) -> None:
    name = module(SAMPLES.replace("_load", "__getitem__"))
    found = resolve(f"{name}.Cars", source_root="/data", source_url=None)
    assert found.lacks == "_load(index, file name)"


@pytest.mark.parametrize("lacking", ["__len__", "_load"])
def test_a_class_brings_no_samples_without(lacking: str, module: Module) -> None:
    name = module(SAMPLES.replace(lacking, "other"))
    found = resolve(f"{name}.Cars", source_root="/data", source_url=None)
    assert found.sample_class is None


# Listing them

Config = dict[str, Any]


def class_listing(name: str, root: Path, **config: Any) -> Any:
    return listing_of(dataset=f"{name}.Cars", filemap=None, source_root=str(root), **config)


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        (
            {"splits": ["train", "test"]},
            [
                ("t0", "train", 0),
                ("t1", "train", 1),
                ("t2", "train", 2),
                ("e0", "test", 0),
                ("e1", "test", 1),
            ],
        ),
        (
            {"splits": ["test", "train[1:]"]},
            [("e0", "test", 0), ("e1", "test", 1), ("t1", "train", 1), ("t2", "train", 2)],
        ),
        ({"splits": ["train[-1]"]}, [("t2", "train", 2)]),
        ({"splits": ["train[::-2]"]}, [("t2", "train", 2), ("t0", "train", 0)]),
        (
            {"splits": ["train", "test"], "limit": 1},
            [("t0", "train", 0), ("e0", "test", 0)],
        ),
    ],
    ids=["in order", "in the order asked for", "one from the end", "backwards", "limit a split"],
)
def test_samples_of_a_class_are_listed(
    config: Config, expected: list[tuple[str, str, int]], module: Module, tmp_path: Path
) -> None:
    listing = class_listing(module(SAMPLES), tmp_path, **config)
    assert [(s.id, s.split, s.position) for s in listing.samples] == expected
    assert listing.warnings == []
    assert listing.skipped == []


@pytest.mark.parametrize("error", ["KeyError", "ValueError"])
def test_a_split_that_a_class_does_not_know_is_a_warning(
    error: str, module: Module, tmp_path: Path
) -> None:
    text = SAMPLES.replace(
        "self.root,", f"if split == 'val': raise {error}('unknown split')\n        self.root,", 1
    )
    listing = class_listing(module(text), tmp_path)
    assert ids(listing) == ["t0", "t1", "t2", "e0", "e1"]
    [warning] = listing.warnings
    assert "'val'" in warning


def test_an_empty_split_of_a_class_is_a_warning(module: Module, tmp_path: Path) -> None:
    text = SAMPLES.replace('"test": ["e0", "e1"]', '"test": []')
    listing = class_listing(module(text), tmp_path, splits=["train", "test"])
    assert ids(listing) == ["t0", "t1", "t2"]
    [warning] = listing.warnings
    assert "'test'" in warning


def test_a_class_that_knows_none_of_the_splits_is_refused(module: Module, tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"none of the splits.*validation.*Set splits"):
        class_listing(module(SAMPLES), tmp_path, splits=["validation", "training"])


def test_another_error_of_a_class_is_not_taken_for_an_unknown_split(
    module: Module, tmp_path: Path
) -> None:
    text = SAMPLES.replace("self.root,", "raise OSError('disk is gone')\n        self.root,", 1)
    with pytest.raises(SettingsError, match=r"^dataset: .*Cars.*OSError: disk is gone"):
        class_listing(module(text), tmp_path)


def test_a_root_that_is_not_there_is_refused_before_a_class_is_built(
    module: Module, tmp_path: Path
) -> None:
    with pytest.raises(SettingsError, match=r"source_root: .*not there"):
        class_listing(module(SAMPLES), tmp_path / "nowhere")


def test_hostile_ids_of_a_class_are_refused(module: Module, tmp_path: Path) -> None:
    name = module(SAMPLES.replace("t1", "../t1"))
    listing = class_listing(name, tmp_path, splits=["train"])
    assert ids(listing) == ["t0", "t2"]
    assert [s.position for s in listing.samples] == [0, 2]
    assert skipped(listing) == {"../t1": ("invalid_id", "")}


def test_samples_known_by_their_index_are_all_listed_over_several_splits(
    module: Module, tmp_path: Path
) -> None:
    name = module(SAMPLES.replace("sample_info", "no_info"))
    listing = class_listing(name, tmp_path, splits=["train", "test"])
    assert [(s.split, s.position) for s in listing.samples] == [
        ("train", 0),
        ("train", 1),
        ("train", 2),
        ("test", 0),
        ("test", 1),
    ]
    assert len(set(ids(listing))) == 5
    assert len({sample.key for sample in listing.samples}) == 5


@pytest.mark.parametrize(
    ("splits", "expected"),
    [
        (["train[:2]", "train[1:]"], [("train", 0), ("train", 1), ("train", 2)]),
        (["test", "train[0]", "train[0]"], [("test", 0), ("test", 1), ("train", 0)]),
    ],
    ids=["in parts that overlap", "twice, after another split"],
)
def test_a_sample_known_by_its_index_is_converted_once_when_it_is_asked_for(
    splits: list[str], expected: list[tuple[str, int]], module: Module, tmp_path: Path
) -> None:
    name = module(SAMPLES.replace("sample_info", "no_info"))
    listing = class_listing(name, tmp_path, splits=splits)
    assert [(s.split, s.position) for s in listing.samples] == expected
    assert len(listing.warnings) == 1


def test_of_two_samples_of_a_class_with_one_id_the_first_is_converted(
    module: Module, tmp_path: Path
) -> None:
    name = module(SAMPLES.replace('"t2"', '"t0"'))
    listing = class_listing(name, tmp_path, splits=["train"])
    assert [(s.id, s.position) for s in listing.samples] == [("t0", 0), ("t1", 1)]
    [warning] = listing.warnings
    assert "t0" in warning


def test_the_fingerprint_of_a_sample_of_a_class_changes_with_the_root(
    module: Module, tmp_path: Path
) -> None:
    name = module(SAMPLES)
    roots = [tmp_path / "a", tmp_path / "b"]
    for root in roots:
        root.mkdir()
    first, again, other = (
        class_listing(name, root, splits=["train"]) for root in (roots[0], roots[0], roots[1])
    )
    assert first.digest() == again.digest()
    assert first.samples[0].fingerprint != other.samples[0].fingerprint


def test_categories_are_refused_for_a_class_that_has_none(module: Module, tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"^categories: "):
        class_listing(module(SAMPLES), tmp_path, categories=["E_S_WWC_WM"])


def test_split_files_are_not_ignored_for_a_class(module: Module, tmp_path: Path) -> None:
    tree = LocalTree(tmp_path)
    tree.samples("run_1", "run_2")
    tree.lines("train.txt", "run_2")
    try:
        listing = class_listing(module(SAMPLES), tmp_path, split_files={"train": "train.txt"})
    except SettingsError as error:
        assert str(error).startswith("split_files")
    else:
        assert ids(listing) == ["run_2"]


def test_a_split_manifest_is_not_ignored_for_a_class(module: Module, tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"^split_manifest: .*Leave split_manifest out"):
        class_listing(module(SAMPLES), tmp_path, split_manifest="splits.json")


def test_a_class_that_brings_no_samples_is_listed_by_split_files(
    module: Module, tmp_path: Path
) -> None:
    tree = LocalTree(tmp_path / "data")
    tree.samples("run_1", "run_2", "run_3")
    tree.lines("train.txt", "run_3", "run_1")
    name = module(f"class Cars: FILEMAP = {FILEMAP}")
    config: Config = {"split_files": {"train": "train.txt"}, "splits": ["train"]}
    assert ids(class_listing(name, tree.path, **config)) == ["run_3", "run_1"]
