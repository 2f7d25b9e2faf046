"""Where another workflow imports this one as a module: other names, and others' handlers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from aerozarr.workflow.snakemake_internals.attributes import Workflow, set_existing


def is_imported(workflow: Workflow) -> bool:
    """Whether the Snakefile that is read is a module of another (`modifier`, since 6)."""
    return not workflow.modifier.is_main_snakefile()


def rule_names(workflow: Workflow) -> Callable[[str], str]:
    """Return what gives the name of a rule of the Snakefile that is read, as all others know it.

    `use rule * from aerozarr as aerozarr_*` renames them (`modifier.modify_rulename`, since 6).
    """
    rename: Callable[[str], str] = workflow.modifier.modify_rulename
    return rename


def moves_paths(workflow: Workflow) -> bool:
    """Whether a module's `prefix:` or `replace_prefix:` changes the paths of files.

    `modifier.path_modifier`, and those around it: `prefix`, `modifies_prefixes`, since 9.
    """
    modifier = workflow.modifier.path_modifier
    while modifier is not None:
        if modifier.prefix or modifier.modifies_prefixes:
            return True
        modifier = modifier.inner_modifier
    return False


def chain_handlers(workflow: Workflow, *handlers: Callable[[], object]) -> None:
    """Have Snakemake call a module's `onstart`, `onsuccess` and `onerror` before the importer's.

    It leaves those of modules out (`_onstart`, `_onsuccess`, `_onerror`, since 5). Those of the
    importing workflow are there already, or come later, by the method of the name.
    """
    for name, own in zip(("onstart", "onsuccess", "onerror"), handlers, strict=True):
        _chain(workflow, name, own)


def _chain(workflow: Workflow, name: str, own: Callable[[], object]) -> None:
    register = getattr(workflow, name)

    def both(theirs: Callable[[object], object]) -> Callable[[object], None]:
        def call(log: object) -> None:
            own()
            theirs(log)

        return call

    def register_later(theirs: Callable[[object], object]) -> None:
        register(theirs)
        if not is_imported(workflow):
            set_existing(workflow, f"_{name}", both(theirs))

    set_existing(workflow, f"_{name}", both(getattr(workflow, f"_{name}")))
    setattr(workflow, name, register_later)


def checkpoint_output(workflow: Workflow, rule: str) -> Any:
    """Return the output of a checkpoint that has run (`Checkpoint`, since 9).

    As `checkpoints.<rule>.get().output`, which is not there where a module's rule is used a second
    time, `use rule … with:`. Where it has not run, what Snakemake raises tells it to do so.
    """
    from snakemake.checkpoints import Checkpoint

    return Checkpoint(workflow.get_rule(rule), workflow.checkpoints).get().output
