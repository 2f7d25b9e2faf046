"""Specification of the end of an adoption: what is told, recorded and merged."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from aerozarr.adopt.expected import (
    CONVERT_ANEW,
    AdoptionFindings,
    AdoptionPlan,
    findings_path,
    outcome_path,
    plan_path,
)
from aerozarr.adopt.store import adopt
from aerozarr.errors import StoreError
from aerozarr.filesystems.files import write_atomically
from aerozarr.run_config import RunConfig
from aerozarr.store.write.records import Written, read_written
from aerozarr.verify.expected import Problem
from unit.store_helpers import project_of

WRONG = Problem("volume_velocity", "2 of 9 values are not the source's", CONVERT_ANEW)


def end(config: RunConfig, *, adopted: list[str], wrong: list[str], absent: list[str]) -> list[str]:
    """End an adoption of which not all could be adopted, and return what is told."""
    plan = AdoptionPlan(
        adopt=[*adopted, *wrong],
        keep=[],
        not_in_source=absent,
        sources=["/data/source"],
        groups=[*adopted, *wrong],
    )
    write_atomically(plan_path(config), plan.model_dump_json().encode())
    for sample in plan.adopt:
        problems = [WRONG] if sample in wrong else []
        found = AdoptionFindings(sample_id=sample, problems=problems, files=2, values=9)
        write_atomically(findings_path(config, sample), found.model_dump_json().encode())
    names = ("table", "incomplete", "merged", "report", "problems")
    places = {name: config.place(name) for name in names}
    with pytest.raises(StoreError, match="not everything was adopted"):
        adopt(config, **places)
    assert not places["merged"].exists()
    assert len(places["problems"].read_text().splitlines()) == 1 + len(wrong) + len(absent)
    return outcome_path(config).read_text().splitlines()


@pytest.fixture
def config(tmp_path: Path) -> RunConfig:
    return project_of(tmp_path / "store", tmp_path / "work")


def test_what_a_run_may_replace_is_recorded_once_a_sample_was_adopted(config: RunConfig) -> None:
    lines = end(config, adopted=["a"], wrong=["b"], absent=["c\x1b"])
    assert lines[0] == "not adopted (2 samples):"
    assert "  b: volume_velocity: 2 of 9 values are not the source's" in lines
    assert any(line.startswith("  c\\x1b: manifest.json: is in the manifest") for line in lines)
    assert f"what to do about 1 problem: {CONVERT_ANEW}" in lines
    assert lines[-2].startswith("1 sample of ")
    assert "is NOT adopted as a whole: 2 samples cannot be" in lines[-1]
    written = read_written(config.store)
    assert written is not None
    assert written.arrays == {f.array_name for domain in config.domains for f in domain.fields}
    assert config.marks == [written.mark]
    assert replace(written, arrays=frozenset(), mark="") == Written(
        "drivaerml", ("/data/source",), frozenset("ab")
    )


def test_where_no_sample_is_the_sources_nothing_is_recorded(config: RunConfig) -> None:
    lines = end(config, adopted=[], wrong=["a", "b"], absent=[])
    assert "is it the right source" in lines[-2]
    # Of such a store, a plain run would be refused.
    assert any("take_over: true, which converts each such sample anew" in line for line in lines)
    assert read_written(config.store) is None
    assert not Path(config.settings.store, ".aerozarr").exists()
