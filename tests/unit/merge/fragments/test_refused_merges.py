"""What a merge refuses, and what it leaves as it was."""

import json
from collections.abc import Sequence

import pytest

from aerozarr.convert.fragment import Fragment
from aerozarr.errors import StoreError
from aerozarr.merge.merge_manifest import merge_fragments
from aerozarr.messages import SHOWN
from aerozarr.run_config import FRAGMENT_VERSION, RunConfig
from aerozarr.source.samples import Sample, Skipped
from unit.fragment_helpers import GRIDS, MANIFEST, broken, converted, left_out_row, listed
from unit.merge_helpers import put_fragment
from unit.store_helpers import files_below, put_file, sample_of


def refused(run_config: RunConfig, samples: list[Sample], skipped: Sequence[Skipped] = ()) -> str:
    with pytest.raises(StoreError) as caught:
        merge_fragments(run_config, samples, list(skipped))
    return str(caught.value)


@pytest.mark.parametrize("policy", ["skip", "fail"])
def test_when_all_are_broken_the_merge_fails(make, url, policy):
    run_config = make(on_broken_sample=policy)
    run_config.store.publish(MANIFEST, b"{}")
    samples = [broken(run_config, name, cause="NaN") for name in ("run_1", "run_2")]
    message = refused(run_config, samples, [left_out_row("run_3")])
    assert "every sample is broken (2)" in message
    assert all(part in message for part in ("run_1", "run_2", "NaN"))
    assert MANIFEST not in files_below(url)


def test_with_fail_one_broken_sample_is_enough(make, url):
    run_config = make(on_broken_sample="fail")
    run_config.store.publish(MANIFEST, b"{}")
    samples = [converted(run_config, "run_1"), broken(run_config, "run_2", cause="NaN")]
    message = refused(run_config, samples)
    assert all(part in message for part in ("1 broken sample", "run_2", "NaN", "on_broken_sample"))
    assert MANIFEST not in files_below(url)


@pytest.mark.parametrize("there", [True, False])
def test_a_manifest_of_before_stays_when_the_groups_that_it_lists_are_there(make, url, there):
    run_config = make(on_broken_sample="fail")
    whole = converted(run_config, "run_1")
    merge_fragments(run_config, [whole], [])
    if not there:
        run_config.store.remove_group("run_1")
    refused(run_config, [whole, broken(run_config, "run_2", cause="NaN")])
    assert (MANIFEST in files_below(url)) is there


def test_with_fail_incomplete_samples_are_still_left_out(make, url):
    # They have no files to convert; the listing has said so.
    run_config = make(on_broken_sample="fail")
    merge_fragments(run_config, [converted(run_config, "run_1")], [left_out_row("run_2")])
    assert listed(url) == ["run_1"]


def test_a_missing_group_is_refused_and_named(make, url):
    run_config = make()
    run_config.store.publish(MANIFEST, b"{}")
    samples = [
        converted(run_config, "run_1"),
        converted(run_config, "ü/run_2", group=False),
        converted(run_config, "run_3", group=False),
    ]
    message = refused(run_config, samples)
    assert all(part in message for part in ("2 groups", "ü/run_2", "run_3", "again"))
    assert "run_1" not in message
    assert MANIFEST not in files_below(url)


def test_a_half_written_group_is_a_missing_one(make, url):
    run_config = make()
    samples = [converted(run_config, "run_1"), converted(run_config, "run_2", group=False)]
    put_file(url, "run_2.zarr/volume/zarr.json", b"{}")
    assert "run_2" in refused(run_config, samples)
    assert MANIFEST not in files_below(url)


def test_many_missing_groups_are_counted_and_not_all_named(make):
    run_config = make()
    ids = [f"run_{number:03}" for number in range(SHOWN + 7)]
    message = refused(run_config, [converted(run_config, name, group=False) for name in ids])
    assert f"{SHOWN + 7} groups" in message
    assert [name in message for name in ids] == [True] * SHOWN + [False] * 7
    assert "7 more" in message


def test_a_hostile_id_cannot_write_to_the_terminal(make):
    run_config = make()
    samples = [converted(run_config, "x\x1b[2J\nrun_1", group=False)]
    message = refused(run_config, samples)
    assert "\x1b" not in message
    assert "x\nrun_1" not in message


def test_a_missing_fragment_is_refused(make, url):
    run_config = make()
    message = refused(run_config, [converted(run_config, "run_1"), sample_of("run_2")])
    assert str(run_config.fragment(sample_of("run_2").key)) in message
    assert MANIFEST not in files_below(url)


@pytest.mark.parametrize("version", [0, FRAGMENT_VERSION + 1])
def test_a_fragment_of_another_version_is_refused_with_both_numbers(make, url, version):
    run_config = make()
    sample = converted(run_config, "run_1")
    path = run_config.fragment(sample.key)
    content = json.loads(path.read_bytes())
    path.write_text(json.dumps({**content, "fragment_version": version}), encoding="utf-8")
    message = refused(run_config, [sample])
    assert f"version {version}" in message
    assert f"version {FRAGMENT_VERSION}" in message
    assert MANIFEST not in files_below(url)


def test_the_fragment_of_another_sample_is_refused(make, url):
    run_config = make()
    first, second = converted(run_config, "run_1"), converted(run_config, "run_2")
    run_config.fragment(first.key).replace(run_config.fragment(second.key))
    put_fragment(run_config, first, Fragment(sample_id="run_1", status="converted", domains=GRIDS))
    message = refused(run_config, [first, second])
    assert "run_1" in message
    assert "run_2" in message
    assert MANIFEST not in files_below(url)
