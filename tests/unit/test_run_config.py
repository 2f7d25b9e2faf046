"""Specification of a resolved configuration: its places, and what makes samples convert again."""

import json
import os
import subprocess
import sys
from itertools import combinations
from pathlib import Path
from typing import Any

import pytest

from aerozarr.config.load_settings import load_settings
from aerozarr.environment import SETTINGS
from aerozarr.errors import SettingsError, StoreError
from aerozarr.filesystems.files import check_writable
from aerozarr.run_config import RunConfig
from aerozarr.store.write.local import LocalRoot
from aerozarr.store.write.object_store import ObjectStoreRoot

FILEMAP = {
    "surface_position": "x.pt",
    "surface_pressure": "p.pt",
    "volume_position": "v.pt",
    "volume_velocity": "u.pt",
    "volume_vorticity": "w.pt",
}
BASE: dict[str, Any] = {
    "dataset": "drivaerml",
    "source_url": "/data/cars",
    "filemap": FILEMAP,
    "store": "/stores/one",
    "workdir": "/work/one",
    "shuffle_seed": 3,
    "chunk_points": 8,
    "shard_points": 64,
}
SECRETS = {
    "s3": {
        "key": "AKIA-not-for-the-record",
        "secret": "s3cr3t/not+for=the-record",
        "endpoint_url": "https://minio.not-for-the-record.example",
        "client_kwargs": {"region_name": "region-not-for-the-record", "port": 918273645},
    },
    "gs": {"token": ["nested-not-for-the-record"]},
}


def project_of(**settings: Any) -> RunConfig:
    return RunConfig.of(load_settings({**BASE, **settings}))


# What makes every sample convert again ---------------------------------------------------------

CHANGES_BYTES = {
    "shuffle_seed": {"shuffle_seed": 4},
    "shuffle_seed-negative": {"shuffle_seed": -3},
    "chunk_points": {"chunk_points": 9},
    "shard_points": {"shard_points": 65},
    "shard_points-of-a-chunk": {"shard_points": 8},
    "shard_points-none": {"shard_points": None},
    "coords_dtype": {"coords_dtype": "float64"},
    "values_dtype": {"values_dtype": "float32"},
    "field_dtypes": {"field_dtypes": {"volume_velocity": "float32"}},
    "field_dtypes-of-another": {"field_dtypes": {"volume_vorticity": "float32"}},
    "field_dtypes-wider": {"field_dtypes": {"volume_velocity": "float64"}},
    "cname": {"compression": {"cname": "lz4"}},
    "clevel": {"compression": {"clevel": 6}},
    "filemap-file": {"filemap": {**FILEMAP, "volume_velocity": "u2.pt"}},
    "filemap-more": {"filemap": {**FILEMAP, "volume_normals": "n.pt"}},
    "filemap-less": {"filemap": {k: v for k, v in FILEMAP.items() if k != "volume_velocity"}},
    "filemap-domain-less": {"filemap": {k: v for k, v in FILEMAP.items() if k[0] == "v"}},
    "preset": {"filemap": None},
    "another-preset": {"filemap": None, "dataset": "shapenet_car"},
    "keep_points": {"keep_points": {"volume": 0.5}},
    "keep_points-of-another": {"keep_points": {"surface": 0.5}},
    "keep_points-of-all": {"keep_points": 0.5},
    "keep_points-one": {"keep_points": 1},
    "keep_points-share-of-one": {"keep_points": 1.0},
    "store": {"store": "/stores/two"},
    "store-on-s3": {"store": "memory://stores/one"},
}
# Pairs of settings in which two values change places.
SWAPPED = {
    "seed-and-chunk": (
        {"shuffle_seed": 5, "chunk_points": 7},
        {"shuffle_seed": 7, "chunk_points": 5},
    ),
    "seed-and-shard": (
        {"shuffle_seed": 5, "shard_points": 7},
        {"shuffle_seed": 7, "shard_points": 5},
    ),
    "chunk-and-shard": (
        {"chunk_points": 8, "shard_points": 64},
        {"chunk_points": 64, "shard_points": 8},
    ),
    "seed-and-level": (
        {"shuffle_seed": 5, "compression": {"clevel": 7}},
        {"shuffle_seed": 7, "compression": {"clevel": 5}},
    ),
    "dtypes": (
        {"coords_dtype": "float32", "values_dtype": "float16"},
        {"coords_dtype": "float16", "values_dtype": "float32"},
    ),
    "field-dtypes": (
        {"field_dtypes": {"volume_velocity": "float32", "volume_vorticity": "float64"}},
        {"field_dtypes": {"volume_velocity": "float64", "volume_vorticity": "float32"}},
    ),
    "files": (
        {"filemap": FILEMAP},
        {"filemap": {**FILEMAP, "volume_velocity": "w.pt", "volume_vorticity": "u.pt"}},
    ),
    "files-of-domains": (
        {"filemap": FILEMAP},
        {"filemap": {**FILEMAP, "surface_position": "v.pt", "volume_position": "x.pt"}},
    ),
}
CHANGES_NO_BYTES = {
    "limit": {"limit": 5},
    "dataset_name": {"dataset_name": "other"},
    "on_broken_sample": {"on_broken_sample": "fail"},
    "storage_options": {"storage_options": SECRETS},
    "workdir": {"workdir": "/work/two"},
    "store-with-a-slash": {"store": "/stores/one/"},
    "compression-written-out": {"compression": {"cname": "zstd", "clevel": 5}},
    "dtypes-written-out": {"coords_dtype": "float32", "values_dtype": "float16"},
    "keep_points-of-none": {"keep_points": {}},
    "field_dtypes-as-usual": {"field_dtypes": {"volume_velocity": "float16"}},
    "filemap-in-another-order": {"filemap": dict(reversed(FILEMAP.items()))},
    "filemap-with-design-parameters": {"filemap": {**FILEMAP, "design_parameters": "d.pt"}},
    "splits": {"splits": ["train"], "source_url": None, "source_root": "/data/cars"},
    "source": {"source_url": "/mirror/cars"},
}


@pytest.mark.parametrize("changed", CHANGES_BYTES.values(), ids=CHANGES_BYTES)
def test_stored_as_changes_with_what_changes_bytes_or_their_place(changed):
    assert project_of(**changed).stored_as != project_of().stored_as


def test_stored_as_tells_all_these_apart():
    variants = {"base": {}, **CHANGES_BYTES}
    texts = {name: project_of(**changed).stored_as for name, changed in variants.items()}
    assert [(a, b) for a, b in combinations(texts, 2) if texts[a] == texts[b]] == []


def test_points_that_are_kept_decide_the_bytes_of_their_domain_alone():
    plain, some = project_of(), project_of(keep_points={"volume": 0.5})
    differing = {n for n, text in some.field_texts.items() if text != plain.field_texts[n]}
    assert differing == {"volume_position", "volume_velocity", "volume_vorticity"}
    # As it was before there was such a setting: nobody's store converts again.
    texts = [plain.stored_as, plain.listed_as, *(text for _, text in plain.field_texts.values())]
    assert not any("keep_points" in text for text in texts)


@pytest.mark.parametrize(("one", "other"), SWAPPED.values(), ids=SWAPPED)
def test_stored_as_changes_when_two_values_change_places(one, other):
    # Snakemake compares parameters as a set, so one text has to hold them all.
    first, second = project_of(**one).stored_as, project_of(**other).stored_as
    assert isinstance(first, str)
    assert first != second


@pytest.mark.parametrize("changed", CHANGES_NO_BYTES.values(), ids=CHANGES_NO_BYTES)
def test_stored_as_does_not_change_with_what_changes_no_bytes(changed):
    assert project_of(**changed).stored_as == project_of().stored_as


def test_stored_as_does_not_depend_on_the_order_of_field_dtypes():
    pair = {"volume_velocity": "float32", "surface_pressure": "float64"}
    first = project_of(field_dtypes=pair).stored_as
    assert project_of(field_dtypes=dict(reversed(pair.items()))).stored_as == first


def test_stored_as_holds_the_version_of_the_bytes(monkeypatch):
    before = project_of().stored_as
    monkeypatch.setattr("aerozarr.run_config.BYTES_VERSION", 999)
    assert project_of().stored_as != before


def test_stored_as_changes_with_the_class_that_brings_the_samples(tmp_path, monkeypatch):
    text = "class {}:\n FILEMAP = {!r}\n def __len__(self): ...\n def _load(self, i, f): ...\n"
    module = "".join(text.format(name, FILEMAP) for name in ("One", "Two"))
    (tmp_path / "two_classes.py").write_text(module, encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    source = {"source_url": None, "source_root": str(tmp_path), "filemap": None}
    texts = [
        project_of(**source, dataset=f"two_classes.{name}").stored_as for name in ("One", "Two")
    ]
    assert texts[0] != texts[1]


@pytest.mark.parametrize("text", ["stored_as", "listed_as"])
def test_texts_are_one_line_of_json_with_sorted_keys(text):
    content = getattr(project_of(field_dtypes={"volume_velocity": "float32"}), text)
    assert "\n" not in content
    assert json.dumps(json.loads(content), sort_keys=True) == content


@pytest.mark.parametrize("seed", ["0", "1"])
def test_texts_are_the_same_in_every_process(seed):
    program = (
        "import json, sys; from aerozarr.run_config import RunConfig;"
        "from aerozarr.config.load_settings import load_settings;"
        "p = RunConfig.of(load_settings(json.loads(sys.argv[1])));"
        "print(json.dumps([p.stored_as, p.listed_as]))"
    )
    environment = {**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": os.pathsep.join(sys.path)}
    output = subprocess.run(
        [sys.executable, "-c", program, json.dumps(BASE)],
        env=environment,
        capture_output=True,
        check=True,
    ).stdout
    assert json.loads(output) == [project_of().stored_as, project_of().listed_as]


# What makes the manifest be merged again -------------------------------------------------------

CHANGES_MANIFEST = {
    "dataset_name": {"dataset_name": "other"},
    "on_broken_sample": {"on_broken_sample": "fail"},
    "shuffle_seed": {"shuffle_seed": 4},
    "coords_dtype": {"coords_dtype": "float64"},
    "values_dtype": {"values_dtype": "float32"},
    "field_dtypes": {"field_dtypes": {"volume_velocity": "float32"}},
    "cname": {"compression": {"cname": "lz4"}},
    "clevel": {"compression": {"clevel": 6}},
    "filemap-more": {"filemap": {**FILEMAP, "volume_normals": "n.pt"}},
    "store": {"store": "/stores/two"},
    "preset": {"dataset": "ahmedml"},
}
CHANGES_NO_MANIFEST = ("storage_options", "workdir", "limit", "store-with-a-slash", "source")


@pytest.mark.parametrize("changed", CHANGES_MANIFEST.values(), ids=CHANGES_MANIFEST)
def test_listed_as_changes_with_what_the_manifest_says(changed):
    assert project_of(**changed).listed_as != project_of().listed_as


@pytest.mark.parametrize("name", CHANGES_NO_MANIFEST)
def test_listed_as_does_not_change_with_what_it_does_not_say(name):
    assert project_of(**CHANGES_NO_BYTES[name]).listed_as == project_of().listed_as


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ({"dataset_name": "one", "store": "/two"}, {"dataset_name": "/two", "store": "one"}),
        SWAPPED["dtypes"],
        SWAPPED["field-dtypes"],
        SWAPPED["seed-and-level"],
    ],
    ids=["name-and-store", "dtypes", "field-dtypes", "seed-and-level"],
)
def test_listed_as_changes_when_two_values_change_places(one, other):
    assert project_of(**one).listed_as != project_of(**other).listed_as


# Credentials -----------------------------------------------------------------------------------


def leaves(value: Any) -> list[str]:
    if isinstance(value, dict):
        return [leaf for item in value.values() for leaf in leaves(item)]
    if isinstance(value, list):
        return [leaf for item in value for leaf in leaves(item)]
    return [str(value)]


@pytest.mark.parametrize("text", ["stored_as", "listed_as"])
@pytest.mark.parametrize("store", ["/stores/one", "memory://stores/one"])
def test_storage_options_never_show_in_what_snakemake_records(text, store):
    recorded = getattr(project_of(storage_options=SECRETS, store=store), text)
    assert len(leaves(SECRETS)) == 6
    assert not [secret for secret in leaves(SECRETS) if secret in recorded]
    assert "storage_options" not in recorded


# From process to process -----------------------------------------------------------------------


@pytest.fixture(autouse=True)
def _environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(SETTINGS, "to be restored")
    monkeypatch.delenv(SETTINGS)


def test_a_job_gets_the_settings_of_the_process_that_started_it():
    config = {
        **BASE,
        "storage_options": SECRETS,
        "limit": 3,
        "compression": {"cname": "lz4", "clevel": 1},
        "field_dtypes": {"volume_velocity": "float32"},
        "dataset_name": "Wägen",
    }
    run_config = RunConfig.from_config(config)
    again = RunConfig.from_environment()
    assert again == run_config
    assert again.settings.storage_options == SECRETS
    assert (again.stored_as, again.listed_as) == (run_config.stored_as, run_config.listed_as)


def test_a_job_that_snakemake_did_not_start_is_refused():
    with pytest.raises(StoreError, match="snakemake"):
        RunConfig.from_environment()


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"dataset": "nosuch"}, "nosuch"),
        ({"chunk_points": 0}, "chunk_points"),
        ({"field_dtypes": {"volume_sdf": "float32"}}, "volume_sdf"),
        ({"filemap": {"volume_velocity": "u.pt"}}, "volume_position"),
        ({"nosuch": 1}, "nosuch"),
    ],
    ids=["dataset", "value", "field", "filemap", "key"],
)
def test_settings_that_cannot_be_used_are_refused_and_not_handed_on(changed, words):
    with pytest.raises(SettingsError, match=words):
        RunConfig.from_config({**BASE, **changed})
    assert SETTINGS not in os.environ


# Places ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("workdir", "expected"),
    [("results/work", "results/work"), ("/w/", "/w"), ("w//", "w"), ("/", "/"), (".", ".")],
)
def test_workdir_is_written_without_a_slash_at_the_end(workdir, expected):
    run_config = project_of(workdir=workdir)
    assert run_config.workdir == expected
    assert run_config.place("samples.tsv") == Path(expected, "samples.tsv")
    fragment = run_config.fragment("a%2Fb")
    assert fragment.name == "a%2Fb.json"
    assert fragment.parent.parent == Path(expected, "fragments")


def test_each_store_has_fragments_of_its_own():
    stores = ["a", "b", "s3://a", "a/b"]
    assert len({project_of(store=store).fragments for store in stores}) == len(stores)
    assert project_of(store="a").fragments == project_of(store="a/").fragments


@pytest.mark.parametrize(
    ("settings", "source", "is_example"),
    [
        ({"dataset": "example"}, "w/example_source", True),
        ({"dataset": "example", "source_url": "/data"}, "/data", False),
        ({"dataset": "example", "source_root": "/data"}, "/data", False),
        ({"dataset": "drivaerml", "source_url": "s3://b/p"}, "s3://b/p", False),
        ({"dataset": "drivaerml", "source_root": "/data"}, "/data", False),
    ],
)
def test_source(settings, source, is_example):
    run_config = RunConfig.of(load_settings({"workdir": "w", **settings}))
    assert (run_config.source_url, run_config.is_example) == (source, is_example)
    assert run_config.source_setting == (None if is_example else source)


@pytest.mark.parametrize(
    ("url", "kind"),
    [("{tmp}/a/b", LocalRoot), ("file://{tmp}/a", LocalRoot), ("memory://s", ObjectStoreRoot)],
)
def test_store_is_opened_once_and_nothing_is_made(tmp_path, url, kind):
    run_config = project_of(store=url.format(tmp=tmp_path), workdir=str(tmp_path / "w"))
    assert type(run_config.store) is kind
    assert run_config.store is run_config.store
    assert list(tmp_path.iterdir()) == []


def test_two_work_folders_do_not_clear_away_each_others_unfinished_groups(tmp_path):
    one, two = (
        project_of(store=str(tmp_path / "s"), workdir=str(tmp_path / name)) for name in "ab"
    )
    with one.store.write_group("run_1") as group:
        group.put("volume/c/0/0", b"x")
        two.store.clean()
        group.commit(b"{}")
    assert (tmp_path / "s/run_1.zarr/volume/c/0/0").read_bytes() == b"x"


@pytest.mark.parametrize("below", ["", "/below", "/far/below"])
def test_a_store_that_is_a_file_is_refused(tmp_path, below):
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(SettingsError, match=r"store.*is a file"):
        _ = project_of(store=f"{tmp_path}/file{below}").store


def test_check_writable_takes_what_is_or_can_become_a_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for folder in (tmp_path, tmp_path / "a/b/c", Path("relative/a"), Path(".")):
        check_writable("workdir", folder)
    assert list(tmp_path.iterdir()) == []


def test_check_writable_refuses_a_folder_without_the_right_to_write(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "access", lambda path, mode: False)  # the tests may run as root
    with pytest.raises(SettingsError, match=r"workdir.*no permission"):
        check_writable("workdir", tmp_path / "a")
