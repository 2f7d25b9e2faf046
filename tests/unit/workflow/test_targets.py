"""Which targets go together."""

from __future__ import annotations

import pytest

from aerozarr.errors import SettingsError
from aerozarr.workflow.targets import check_targets

FOREIGN = "all, of the importing workflow"


@pytest.mark.parametrize(
    ("targets", "is_imported"),
    [
        ({"all"}, False),
        ({"verify"}, False),
        ({"list_samples", "merge_manifest"}, False),
        ({"verify", FOREIGN, "train"}, True),
    ],
)
def test_targets_that_go_together(targets: set[str], *, is_imported: bool) -> None:
    check_targets(targets, str, is_imported=is_imported)


@pytest.mark.parametrize(
    ("targets", "is_imported"),
    [
        ({"all", "verify"}, False),
        ({"verify", "results/work/merged.json"}, False),
        ({"remove_orphans", "all"}, False),
        ({"all", "estimate"}, False),
        ({"remove_orphans", "verify"}, False),
        ({"verify", "all"}, True),
        ({"adopt", FOREIGN}, True),
        ({"repair", "all"}, False),
    ],
)
def test_targets_that_do_not_go_together(targets: set[str], *, is_imported: bool) -> None:
    with pytest.raises(SettingsError, match="is a target of its own"):
        check_targets(targets, str, is_imported=is_imported)
