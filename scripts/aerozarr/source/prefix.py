"""A source of folders below one place, without splits: the setting `source_url`."""

from __future__ import annotations

from aerozarr.filesystems.location import Location
from aerozarr.source.collect import Collector
from aerozarr.source.folders import FolderSource, skip_unreadable
from aerozarr.source.samples import Listing
from aerozarr.source.scan import walk


class PrefixSource(FolderSource):
    """Every folder below a place that holds files of the file map, by ascending id."""

    def _list(self, place: Location) -> Listing:
        scan = walk(place, self.dataset.all_files)
        beside = scan.folders.pop("", {})  # the place itself is not a sample
        collector = Collector(self.settings, self.dataset)
        collector.begin("")
        if beside:
            names = sorted(beside)
            shown = ", ".join(names[:3]) + (" …" if len(names) > 3 else "")
            collector.warn(
                f"{shown} in the source itself {'are' if len(names) > 1 else 'is'} not converted: "
                "a sample is a folder, so give each one of its own"
            )
        for sample_id in sorted(scan.folders):
            collector.add(
                sample_id, "", scan.folders[sample_id], near=scan.near_misses.get(sample_id)
            )
        for folder, why in sorted(scan.unreadable.items()):
            skip_unreadable(collector, folder, "", why)
        collector.warn_of_ignored(scan.ignored)
        return collector.listing()
