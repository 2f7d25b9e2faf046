"""The jobs of the merge."""

from pathlib import Path

import pytest
import torch

from aerozarr.convert.sample import convert
from aerozarr.errors import StoreError
from aerozarr.merge.merge_manifest import merge_manifest
from aerozarr.merge.remove_orphans import remove_orphans
from aerozarr.merge.summary import read_summary
from aerozarr.run_config import RunConfig
from aerozarr.source.sample_table import rows_text
from aerozarr.source.samples import Sample, Skipped
from unit.fragment_helpers import broken, left_out_row, listed, put_group, record
from unit.merge_helpers import put_fragment
from unit.store_helpers import sample_of


def put_tables(
    run_config: RunConfig, samples: list[Sample], skipped: list[Skipped]
) -> dict[str, Path]:
    table, incomplete = run_config.place("samples.tsv"), run_config.place("incomplete.tsv")
    table.parent.mkdir(parents=True, exist_ok=True)
    for path, text in (
        (table, rows_text(samples, Sample)),
        (incomplete, rows_text(skipped, Skipped)),
    ):
        path.write_text(text, encoding="utf-8", newline="")
    made = {name: run_config.place(name) for name in ("merged.json", "report.html")}
    return {
        "table": table,
        "incomplete": incomplete,
        "merged": made["merged.json"],
        "report": made["report.html"],
    }


def really_converted(run_config: RunConfig, sample_id: str) -> Sample:
    """A sample with its fragment, and a group that can be read."""
    sample = sample_of(sample_id)
    rows = {"x.pt": torch.rand(10, 3), "p.pt": torch.rand(10), "v.pt": torch.rand(23, 3)}
    fragment = convert(
        sample,
        lambda field: rows[field.file],
        run_config.domains,
        run_config.settings,
        run_config.store,
    )
    put_fragment(run_config, sample, fragment)
    return sample


def test_the_merge_job_reads_the_tables_and_writes_the_summary(make, url):
    run_config = make()
    samples = [really_converted(run_config, name) for name in ("run_2", 'ü/"a\tb"', "run_1")]
    places = put_tables(run_config, samples, [left_out_row("run_0")])
    merge_manifest(run_config, **places)
    assert listed(url) == [sample.id for sample in samples]
    summary = read_summary(places["merged"])
    assert summary is not None
    assert (summary.samples, len(summary.skipped)) == (3, 1)
    report = places["report"].read_text(encoding="utf-8")
    assert "surface_pressure" in report
    assert "run_<wbr>0" in report


def test_a_merge_job_that_is_refused_writes_no_summary(make):
    run_config = make()
    places = put_tables(run_config, [broken(run_config, "run_1")], [])
    with pytest.raises(StoreError):
        merge_manifest(run_config, **places)
    assert not places["merged"].exists()


def test_the_clearing_job_takes_orphans_out_of_the_store_and_the_summary(make, url, capsys):
    run_config = make()
    places = put_tables(run_config, [really_converted(run_config, "run_1")], [])
    put_group(run_config, "run_9")
    record(run_config, "run_1", "run_9")
    merge_manifest(run_config, **places)
    before = read_summary(places["merged"])
    assert before is not None
    assert before.orphans == ["run_9"]
    remove_orphans(run_config, merged=places["merged"])
    after = read_summary(places["merged"])
    assert after is not None
    assert after.orphans == []
    assert after.manifest_digest == before.manifest_digest
    assert run_config.store.group_ids() == {"run_1"}
    assert "run_9" in capsys.readouterr().err
    assert listed(url) == ["run_1"]
