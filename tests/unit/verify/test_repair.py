"""Specification of what a repair takes from a verification, and when it refuses to."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from pathlib import Path

import pytest

from aerozarr.config.load_settings import load_settings
from aerozarr.convert.fragment import Fragment
from aerozarr.errors import SettingsError, StoreError
from aerozarr.filesystems.files import write_atomically
from aerozarr.run_config import RunConfig
from aerozarr.source.sample_table import skipped_table
from aerozarr.source.samples import Skipped
from aerozarr.verify import expected as remedies
from aerozarr.verify.repair import (
    _LEFT,
    Planned,
    Repair,
    begin_repair,
    outcome_path,
    plan_repair,
    repair_messages,
    repair_of,
)
from aerozarr.verify.repair import repair as mend
from aerozarr.verify.store import Verdict, state_of
from aerozarr.workflow.reconcile import forget, plan_run
from aerozarr.workflow.state import State

REMEDIES = (
    *("CONVERT_ANEW", "MERGE_ANEW", "RUN", "MEND_SOURCE", "ADOPT", "DROP", "MOVE_AWAY"),
    *("REMOVE_REST", "REMOVE_ORPHANS", "SAME_SETTINGS"),
)

PROBLEMS = [
    ("", "notes.txt", "is not a file of the store", remedies.MOVE_AWAY),
    ("", "statistics.json", "is not what was written last", remedies.MERGE_ANEW),
    ("a", "volume/velocity/c/0/0", "is missing", remedies.CONVERT_ANEW),
    ("a", "volume_velocity", "cannot be decoded", remedies.CONVERT_ANEW),
    ("gone", "zarr.json", "is missing", remedies.CONVERT_ANEW),
    ("gone", "manifest.json", "is not among the samples", remedies.DROP),
    ("", "new", "is in the source and not in manifest.json", remedies.RUN),
    ("cut", "surface_pressure", "the source's file cannot be read", remedies.MEND_SOURCE),
]


@pytest.fixture
def config(tmp_path: Path) -> RunConfig:
    settings = {
        "source_url": str(tmp_path / "source"),
        "filemap": {"surface_position": "points.pt"},
        "store": str(tmp_path / "store"),
        "workdir": str(tmp_path / "work"),
    }
    (tmp_path / "store").mkdir()
    (tmp_path / "store/manifest.json").write_text("{}")
    return RunConfig.of(load_settings(settings))


def verdict_of(config: RunConfig, problems: list[tuple[str, str, str, str]]) -> Verdict:
    return Verdict(
        store=config.settings.store,
        mode="full",
        samples=3,
        files=9,
        stored_bytes=9,
        values=9,
        problems=problems,
        rounding={},
        state=state_of(config.store),
        stored_as=config.stored_as_digest,
    )


def write(config: RunConfig, verdict: Verdict) -> None:
    path = config.place("verification/verdict.json")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(asdict(verdict)))


def test_damaged_samples_are_converted_and_the_rest_is_left_the_worst_first(
    config: RunConfig,
) -> None:
    repair = repair_of(verdict_of(config, PROBLEMS))
    assert repair.samples == ["a"], "once, and none that the source does not have"
    assert repair.keys == {"a"}
    assert repair.merges
    assert [place for _, place, *_ in repair.left] == [
        "surface_pressure",
        "manifest.json",
        "notes.txt",
    ]


def test_every_remedy_is_a_repair_or_has_a_rank() -> None:
    texts = {value for name, value in vars(remedies).items() if name in REMEDIES}
    assert len(texts) == len(REMEDIES)
    assert texts == {*remedies.MENDED, *_LEFT, remedies.SAME_SETTINGS}


def test_the_verdict_says_how_much_a_repair_mends(config: RunConfig) -> None:
    assert verdict_of(config, PROBLEMS).lines()[-1].endswith("; snakemake repair mends 5 of them")
    assert verdict_of(config, PROBLEMS[2:3]).lines()[-1].endswith("; snakemake repair mends it")
    assert "repair" not in verdict_of(config, PROBLEMS[:1]).lines()[-1]
    others = [*PROBLEMS, ("", "manifest.json", "seed", remedies.SAME_SETTINGS)]
    assert "repair" not in verdict_of(config, others).lines()[-1], "it would be refused"


def test_a_repair_needs_a_verification_of_this_store_as_it_is(config: RunConfig) -> None:
    with pytest.raises(StoreError, match=r"no verification of .*store to go by.*verify"):
        plan_repair(config)
    verdict = verdict_of(config, PROBLEMS)
    write(config, replace(verdict, store="/elsewhere"))
    with pytest.raises(StoreError, match="no verification"):
        plan_repair(config)
    write(config, replace(verdict, stored_as="other"))
    with pytest.raises(SettingsError, match="one with other settings"):
        plan_repair(config)
    others = [*PROBLEMS, ("", "manifest.json", "seed", remedies.SAME_SETTINGS)]
    write(config, replace(verdict, problems=others))
    with pytest.raises(SettingsError, match="was made with other settings"):
        plan_repair(config)
    write(config, verdict)
    assert plan_repair(config).repair == repair_of(verdict)
    (Path(config.settings.store) / "checksums.tsv").write_text("written since")
    with pytest.raises(StoreError, match="was written to since its last verification"):
        plan_repair(config)


def test_a_repair_that_was_killed_goes_on(config: RunConfig) -> None:
    write(config, verdict_of(config, PROBLEMS))
    planned = plan_repair(config)
    begin_repair(config, planned)
    (Path(config.settings.store) / "manifest.json").unlink()  # as before a group is replaced
    again = plan_repair(config)
    assert again.is_begun
    assert again.repair == planned.repair
    assert "goes on" in repair_messages(again)[0]


def test_a_sound_store_has_nothing_to_repair(config: RunConfig) -> None:
    write(config, verdict_of(config, []))
    assert repair_messages(plan_repair(config)) == ["the last verification found nothing to repair"]


def test_a_verdict_of_an_earlier_version_is_not_gone_by(config: RunConfig) -> None:
    verdict = asdict(verdict_of(config, PROBLEMS))
    del verdict["state"], verdict["stored_as"]
    path = config.place("verification/verdict.json")
    path.parent.mkdir(parents=True)
    path.write_text(json.dumps(verdict))
    with pytest.raises(SettingsError, match="Run snakemake verify"):
        plan_repair(config)


def test_a_damaged_sample_that_this_run_does_not_list_is_not_mended(config: RunConfig) -> None:
    record, aside = config.fragment("s"), config.set_aside("s")
    aside.parent.mkdir(parents=True)
    for path in (record, aside):
        path.write_bytes(Fragment(sample_id="s", status="converted").to_json())
    # As with a limit that leaves it out.
    empty = State([], {}, {}, {}, None, None, {})
    forget(config, plan_run(config, empty, damaged={"s"}))
    assert not record.exists() and not aside.exists(), "whoever lists it next converts it anew"
    begin_repair(config, Planned(Repair(samples=["s", "cut"])))
    cut = Skipped("cut", "", "incomplete", "", "U.pt", "is not there", "add it")
    write_atomically(config.place("incomplete.tsv"), skipped_table([cut]))
    with pytest.raises(StoreError, match="not everything could be mended"):
        mend(config, table=config.place("repair.tsv"))
    lines = outcome_path(config).read_text().splitlines()
    assert lines[0].startswith("2 problems not mended")
    assert lines[1].startswith("  s: is not among the samples of this run; if the source has it")
    assert lines[2] == "  cut: U.pt: is not there; add it"
