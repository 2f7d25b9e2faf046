"""What the main process does before a store is adopted: look at all of it, and write nothing yet.

Which samples are adopted already is decided as for any run (`reconcile`): those that it would not
convert.
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import dataclass

from aerozarr.adopt.expected import (
    AdoptionPlan,
    Listed,
    adoption_folder,
    listed_path,
    plan_path,
)
from aerozarr.adopt.settings_fit import check_settings_fit
from aerozarr.errors import SettingsError, StoreError
from aerozarr.filesystems.files import write_atomically
from aerozarr.messages import redacted
from aerozarr.run_config import RunConfig
from aerozarr.source.samples import Sample
from aerozarr.store.format.layout import MANIFEST
from aerozarr.store.format.manifest import Manifest
from aerozarr.store.write.records import read_written
from aerozarr.workflow.ownership import (
    begin_writing,
    check_may_adopt,
    checked_groups,
    sources_of,
)
from aerozarr.workflow.prepare import acquire_workdir, hand_over, listing_messages
from aerozarr.workflow.put_back import compared_if_put_back
from aerozarr.workflow.reconcile import forget, look, plan_run
from aerozarr.workflow.state import State


@dataclass(frozen=True)
class Adoption:
    """What a run that adopts knows once it is prepared.

    Attributes
    ----------
    rows
        Rows of the samples to compare, by key.
    source_digest
        Changes when the source does.
    messages
        What the person should know before the jobs start.
    """

    rows: dict[str, Sample]
    source_digest: str
    messages: Sequence[str]


def prepare_adoption(run_config: RunConfig, *, runs_jobs: bool) -> Adoption:
    """Check that a store may be adopted, and write down what of it is to be compared.

    Parameters
    ----------
    run_config
        The configuration.
    runs_jobs
        False for a dry run and whatever else only looks: then nothing is written or removed.

    Raises
    ------
    SettingsError
        When the settings would give another store, another dataset's run wrote it, or the source
        cannot be listed.
    StoreError
        When there is no manifest that can be read, or another run is at work in work folder or
        store.
    """
    if run_config.is_example:
        raise SettingsError(
            "adopt compares a store with its source, and the example has none of its own. Set "
            "source_url or source_root."
        )
    store = run_config.store
    store.check()
    content = store.read(MANIFEST)
    place = f"{redacted(store.location.url)}/{MANIFEST}"
    if content is None:
        raise StoreError(f"{place} is not there, so there is nothing to adopt. Check store.")
    manifest = Manifest.parse(content, place)
    if not manifest.samples:
        raise StoreError(f"{place} lists no sample, so there is nothing to adopt. Check store.")
    listing = run_config.source.list()
    check_settings_fit(run_config, manifest)
    check_may_adopt(run_config, content)
    messages = acquire_workdir(run_config) if runs_jobs else []
    state = look(run_config, listing, store.all_files())
    state = compared_if_put_back(run_config, checked_groups(run_config, state))
    plan = plan_run(run_config, state)
    adoption = _plan_of(run_config, manifest, state, {*plan.convert})
    rows = {sample.key: sample for sample in state.samples}
    if runs_jobs:
        begin_writing(run_config, None)
        forget(run_config, plan)
        hand_over(run_config, listing, state)
        _write_down(run_config, adoption, manifest, rows)
    return Adoption(
        {key: rows[key] for key in adoption.adopt},
        listing.digest(),
        [*listing_messages(listing, run_config), *messages],
    )


def _plan_of(
    run_config: RunConfig, manifest: Manifest, state: State, converted: set[str]
) -> AdoptionPlan:
    """Return what there is to do, given the keys of the samples that a run would convert."""
    listed = [sample for sample in state.samples if sample.id in manifest.samples]
    adopt = [sample.key for sample in listed if sample.key in converted]
    ids = {sample.id for sample in state.samples}
    written = read_written(run_config.store)
    # What no run recorded is anybody's, but for the samples that are compared now.
    recorded = written.groups if written is not None and written.dataset else frozenset()
    return AdoptionPlan(
        adopt=adopt,
        keep=[sample.key for sample in listed if sample.key not in converted],
        not_in_source=[sample_id for sample_id in manifest.samples if sample_id not in ids],
        sources=list(sources_of(run_config)),
        groups=sorted({*recorded, *(sample.id for sample in listed)}),
    )


def _write_down(
    run_config: RunConfig, plan: AdoptionPlan, manifest: Manifest, rows: dict[str, Sample]
) -> None:
    shutil.rmtree(adoption_folder(run_config), ignore_errors=True)
    write_atomically(plan_path(run_config), plan.model_dump_json().encode("utf-8"))
    for key in plan.adopt:
        entry = manifest.samples[rows[key].id]
        listed = Listed(
            sample=rows[key],
            relpath=entry.relpath,
            domains=entry.domains,
            compressor=manifest.compressor,
        )
        write_atomically(listed_path(run_config, key), listed.model_dump_json().encode("utf-8"))
