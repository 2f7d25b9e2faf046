"""The manifest that a verification goes by: the store's, or what that was before it was damaged."""

from __future__ import annotations

from aerozarr.convert.fragment import read_fragment
from aerozarr.errors import StoreError
from aerozarr.messages import redacted
from aerozarr.run_config import SAMPLES, RunConfig
from aerozarr.source.sample_table import read_samples
from aerozarr.store.format.layout import MANIFEST
from aerozarr.store.format.manifest import Manifest
from aerozarr.store.format.tables import Checksums
from aerozarr.store.write.root import StoredFile, StoreRoot


def read_manifest(store: StoreRoot) -> Manifest:
    """Read a store's manifest.

    Raises
    ------
    StoreError
        When it is not there, is damaged, or is of another format version.
    """
    place = f"{redacted(store.location.url)}/{MANIFEST}"
    content = store.read(MANIFEST)
    if content is None:
        raise StoreError(f"{place} is not there. Run snakemake first.")
    return Manifest.parse(content, place)


def manifest_as_written(run_config: RunConfig, recorded: Checksums) -> Manifest:
    """Return the manifest that was written last.

    One that is damaged would have all of a store taken for wrong. Where the store's table of
    checksums tells another one, and the work folder's fragments and these settings give just that,
    the store's own is one of the files that a merge writes anew.

    Parameters
    ----------
    run_config
        The configuration.
    recorded
        What the table of checksums says; empty where there is none.

    Raises
    ------
    StoreError
        When there is no manifest; or when it is damaged and cannot be made again.
    """
    content = run_config.store.read(MANIFEST)
    wanted = recorded.get(MANIFEST)
    if content is not None and wanted not in (None, _recorded_as(content)):
        made = _made_again(run_config)
        if made is not None and _recorded_as(made.to_bytes()) == wanted:
            return made
    return read_manifest(run_config.store)


def _recorded_as(content: bytes) -> tuple[int, str]:
    stored = StoredFile.of(content)
    return stored.size, stored.sha256


def _made_again(run_config: RunConfig) -> Manifest | None:
    """Return the manifest of the last merge's table and fragments; None where one is not there."""
    settings = run_config.settings
    try:
        samples = read_samples(run_config.place(SAMPLES))
        fragments = [read_fragment(run_config.fragment_path(sample.key)) for sample in samples]
    except StoreError:
        return None
    converted = ((one.sample_id, one.domains) for one in fragments if one.status == "converted")
    name = settings.dataset_name or run_config.dataset.name
    return Manifest.build(name, settings, run_config.domains, converted)
