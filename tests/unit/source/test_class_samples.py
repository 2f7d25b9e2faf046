"""Specification of classes that bring their samples: how they are built, and what they load."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from aerozarr.errors import SettingsError
from aerozarr.source.by_class import ClassSamples
from aerozarr.source.datasets import import_class
from unit.class_helpers import SAMPLES, Module, resolve
from unit.listing_helpers import FILEMAP, listing_of


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


def test_a_class_that_cannot_load_a_field_is_told_what_it_lacks(
    module: Module, tmp_path: Path
) -> None:
    name = module(SAMPLES.replace("_load", "__getitem__"))
    found = resolve(f"{name}.Cars", source_root="/data", source_url=None)
    assert found.lacks.startswith("_load(index, file name), which may be: def _load(")
    with pytest.raises(SettingsError, match=r"it has no _load\(index, file name\).*Add that"):
        listing_of(dataset=f"{name}.Cars", filemap=None, source_root=str(tmp_path))


@pytest.mark.parametrize("lacking", ["__len__", "_load"])
def test_a_class_brings_no_samples_without(lacking: str, module: Module) -> None:
    name = module(SAMPLES.replace(lacking, "other"))
    found = resolve(f"{name}.Cars", source_root="/data", source_url=None)
    assert found.sample_class is None
