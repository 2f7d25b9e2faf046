"""What the command line may ask of a run: rules, and those of them that are targets."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from pathlib import Path

from aerozarr.errors import SettingsError
from aerozarr.messages import did_you_mean, printable

# All rules of `rules/` and the Snakefiles, by the names that they have there.
RULES = frozenset(
    {
        *("default", "all", "make_example", "list_samples", "convert_sample", "merge_manifest"),
        *("remove_orphans", "estimate", "verify", "verify_sample", "repair"),
        *("adopt", "adopt_sample"),
    }
)
# Those that can be a target.
TARGETS = (
    *("all", "verify", "repair", "estimate", "remove_orphans", "adopt"),
    *("make_example", "list_samples", "merge_manifest"),
)
# Those that do not go with others: a run that verifies prepares no conversion; orphans would be
# removed before the manifest lists what the same run converts; an estimate takes its listing.
_ALONE = ("adopt", "repair", "verify", "remove_orphans", "estimate")
# Of these, an importing workflow's own targets may be others.
_BESIDE_FOREIGN = ("verify", "remove_orphans", "estimate")


def own_names(given: Iterable[str], rule: Callable[[str], str]) -> frozenset[str]:
    """Return names of rules and files of the command line as this workflow's own.

    Parameters
    ----------
    given
        What the command line has: `aerozarr_verify`, `train`.
    rule
        Gives the name that a rule has there, from its own.

    Returns
    -------
    frozenset of str
        A rule's own name, `verify`. What is another workflow's is left as it is, unless it could
        be taken for a rule of this one.
    """
    own = {rule(name): name for name in RULES}
    foreign = {name: f"{name}, of the importing workflow" for name in RULES}
    return frozenset(own.get(name, foreign.get(name, name)) for name in given)


def check_targets(
    targets: Collection[str], rule: Callable[[str], str], *, is_imported: bool
) -> None:
    """Refuse a target that is none, and one beside another with which it does not go.

    Parameters
    ----------
    targets
        As `own_names` returns them.
    rule
        Gives the name by which Snakemake knows a rule.
    is_imported
        Whether the command line may name targets of an importing workflow too.

    Raises
    ------
    SettingsError
        When one is so.
    """
    for name in sorted(targets):
        # Else Snakemake says, after the source is listed, that no rule produces it.
        is_file = set("/.") & set(name) or Path(name).exists()
        if not is_imported and name not in (*TARGETS, "default") and not is_file:
            raise SettingsError(
                f"there is no target {printable(name)!r}.{did_you_mean(name, TARGETS)} "
                "snakemake --list names all."
            )
        others = {*targets} - {name}
        if is_imported and name in _BESIDE_FOREIGN:
            others &= {*TARGETS, "default"}
        if name in _ALONE and others:
            raise SettingsError(
                f"{rule(name)} is a target of its own. Give it alone on the command line."
            )
