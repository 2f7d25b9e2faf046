"""Every block of code in the documentation does what its page says."""

from __future__ import annotations

import re
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import s3fs

from aerozarr import Store
from documents.pages import (
    CLUSTER_PAGES,
    LANGUAGES,
    NOT_RUN,
    PARSED,
    REPOSITORY,
    RUN_ELSEWHERE,
    Reader,
    blocks_of,
    check_command,
    check_yaml,
    is_fragment,
    is_listed,
    pages,
)
from remote.servers import free_port, process

TARGETS = {
    name
    for path in (REPOSITORY / "Snakefile", *(REPOSITORY / "rules").glob("*.smk"))
    for name in re.findall(r"^(?:rule|checkpoint) (\w+):", path.read_text(), re.MULTILINE)
}


# What is printed when all of a page is done, from top to bottom.
SAID = {
    "docs/start/five-minutes.md": [r"epoch 20: loss 0\.[123]"],
    "docs/tutorials/two-ranks.md": [],
    "docs/how-to/npz.md": ["float16, errors reach 0.125, 0.13 of the", r"tensor\(300\."],
    "docs/raw-files.md": [
        "lists 4 samples of balls",
        r"raw_store is as it should be \(4 ",
        "epoch 1: loss",
    ],
    "docs/how-to/splits.md": ["lists 5 samples of tunnel", r"'train': \('run_0',", "3 2"],
    "docs/how-to/dataset-class.md": ["lists 6 samples", r"\('train_0', 'train_1', 'train_2'\)"],
    "docs/how-to/nightly.md": [r"(?m)^done: 1 samples in ", "is as it should be"],
    "docs/how-to/move.md": ["new_disk/store is as it should be", "1 sample of .* adopted"],
    "docs/training.md": [
        r"\['param0/car_02', 'param1/car_03', 'param1/car_04'\]",
        r"torch.Size\(\[2, 512, 1\]\)",
    ],
}


@pytest.mark.parametrize("page", SAID)
def test_a_page_does_what_it_says(reader: Callable[[], Reader], page: str) -> None:
    person = reader()
    if page == "docs/training.md":
        # Reading from S3 itself is what docs/tutorials/s3.md does.
        person.replaced["s3://training/wind_tunnel"] = "results/store"
    said = person.follow(page)
    for pattern in SAID[page]:
        assert re.search(pattern, said), said
    if page.endswith("two-ranks.md"):
        # Ten samples in each of two epochs; the second time, nothing is left to read.
        (command,) = (each.text.strip() for each in blocks_of(page) if each.language == "sh")
        assert len(re.findall(r"param\d/", said)) == 2 * 10
        assert "rank" not in person.run(command)
    if page.endswith("move.md"):
        # The last run, at the new place, converted nothing.
        assert "converting 1" not in said.rpartition("adopted")[2]


def test_reading_from_s3(
    reader: Callable[[], Reader], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    port = free_port()
    (command,) = (
        line
        for block in blocks_of("docs/tutorials/s3.md")
        for line in block.text.splitlines()
        if line.startswith("moto_server")
    )
    program = str(Path(sys.executable).parent / "moto_server")
    assert shutil.which(program)
    person = reader()
    for name in ("ACCESS_KEY_ID", "SECRET_ACCESS_KEY"):
        monkeypatch.setenv(f"AWS_{name}", "any")
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{port}")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    person.replaced["127.0.0.1:5555"] = f"127.0.0.1:{port}"
    with process(
        [program, *command.replace("5555", str(port)).split()[1:]], port, tmp_path / "log"
    ):
        said = person.follow("docs/tutorials/s3.md")
        s3fs.S3FileSystem.clear_instance_cache()
    assert "lists 10 samples of example" in said
    assert "10 samples\n" in said
    assert said.count("torch.Size([2, 512, 1]) torch.Size([2, 1024, 3])") == 5


def test_files_of_one_folder_become_samples(tmp_path: Path) -> None:
    (command,) = (
        block.text.strip()
        for block in blocks_of("docs/how-to/npz.md")
        if block.text.startswith("cd /data/flat")
    )
    (tmp_path / "data/flat").mkdir(parents=True)
    (tmp_path / "checkout").mkdir()
    (tmp_path / "data/flat/run_0.npz").touch()
    Reader(tmp_path).run(command)
    assert (tmp_path / "data/flat/run_0/surface.npz").exists()


@pytest.mark.parametrize("page", pages())
def test_each_block_is_of_a_kind_that_is_run_or_checked(page: str) -> None:
    is_followed = page in SAID or page in ("README.md", "docs/tutorials/s3.md", *RUN_ELSEWHERE)
    for block in blocks_of(page):
        assert block.language in LANGUAGES
        assert block.language or page in CLUSTER_PAGES, "say text, or what language it is"
        if block.language == "yaml" and page not in RUN_ELSEWHERE:
            check_yaml(block.text)
        elif block.language == "python":
            # tests/unit/test_store_writer.py runs that of docs/datasets.md.
            assert is_fragment(block) or is_followed or "StoreWriter" in block.text
        elif block.language == "sh":
            for line in block.text.splitlines():
                if is_listed(line, PARSED):
                    check_command(line, TARGETS)
                else:
                    assert is_followed or is_listed(line, NOT_RUN), line


@pytest.mark.parametrize("listed", [*NOT_RUN, *PARSED])
def test_what_is_not_run_is_in_some_page(listed: str) -> None:
    lines = [
        line
        for page in pages()
        for block in blocks_of(page)
        if block.language == "sh"
        for line in block.text.splitlines()
    ]
    assert any(line.startswith(listed) for line in lines)


def patterns_in(section: str) -> list[str]:
    """Return the paths of the first column of a section's table, as patterns of full paths."""
    text = (REPOSITORY / "docs/reference/files.md").read_text("utf-8").partition(section)[2]
    cells = re.findall(r"^\| (`.*?) \|", text.partition("\n## ")[0], re.MULTILINE)
    names = re.findall(r"`([^`]+)`", " ".join(cells))
    as_pattern = [re.sub(r"<[^>]*>", "[^/]+", re.escape(name)) for name in names]
    return [f"{name}.*" if name.endswith("/") else name for name in as_pattern]


@pytest.mark.parametrize(
    ("section", "folder"), [("## In the store", "store"), ("## In the work", "work")]
)
def test_the_tables_of_files_have_every_file(
    reader: Callable[[], Reader], section: str, folder: str
) -> None:
    patterns = patterns_in(section)
    assert len(patterns) > 10
    results = reader().checkout / "results" / folder
    for path in results.rglob("*"):
        name = re.sub(r"^param\d/(?=.*\.zarr/)", "", str(path.relative_to(results)))
        assert path.is_dir() or any(re.fullmatch(each, name) for each in patterns), name


def test_the_page_of_targets_has_every_rule() -> None:
    text = (REPOSITORY / "docs/reference/targets.md").read_text("utf-8")
    assert {"all", "verify", "convert_sample"} <= TARGETS
    assert all(f"`{target}`" in text for target in TARGETS)


def test_a_store_opens_from_an_archive_as_the_page_on_moving_says(
    reader: Callable[[], Reader],
) -> None:
    checkout = reader().checkout
    archive = shutil.make_archive(str(checkout / "store"), "zip", checkout / "results/store")
    store = Store(f"zip://::file://{archive}")
    assert store.read(store.samples[0], points={"surface": 10})["surface_pressure"].shape == (10, 1)
