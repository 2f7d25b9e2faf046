"""Each undocumented part of Snakemake that aerozarr uses is there, and does what it is used for.

A real run of a small workflow calls every function of `snakemake_internals`, at the moment at which
the real one does. What an attribute's absence would raise is the failure that names it.
"""

from __future__ import annotations

import importlib
import inspect
import json
import pkgutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
from snakemake.cli import get_argument_parser

from aerozarr.workflow import snakemake_internals, snakemake_shortcuts
from aerozarr.workflow.snakemake_internals import invocation
from aerozarr.workflow.snakemake_internals.attributes import set_existing
from aerozarr.workflow.snakemake_internals.version import version_warnings
from workflow.harness import REPOSITORY, Workspace, write_sample

SNAKEFILE = """
import json, sys
from pathlib import Path
sys.path.insert(0, {scripts!r})
from aerozarr.workflow import snakemake_shortcuts as shortcuts
from aerozarr.workflow.snakemake_internals import (
    cluster, commands, invocation, jobs, modules, output, scheduling
)

said = {{}}

def note(name, call, *arguments):
    try:
        value = call(*arguments)
        said[name] = ["ok", value]
    except Exception as error:
        said[name] = ["failed", f"{{type(error).__name__}}: {{error}}"]

def keep():
    Path("said.json").write_text(json.dumps(said, default=str))

if workflow.is_main_process:
    options = invocation.command_line()
    note("command_line", lambda: options is not None)
    note("config_files", lambda: [path.name for path in invocation.config_files(workflow)])
    note("targets", lambda: sorted(invocation.targets(options)))
    note("forced_rules", lambda: sorted(invocation.forced_rules(options)))
    note("last_rules", lambda: sorted(invocation.last_rules(options)))
    note("leaves_out_hooks", invocation.leaves_out_hooks, options)
    note("only_looks", invocation.only_looks, options)
    note("runs_jobs", invocation.runs_jobs, workflow)
    note("has_scheduler before", jobs.has_scheduler, workflow)
    note("is_dry_run", invocation.is_dry_run, workflow)
    note("is_usual", invocation.is_usual, workflow)
    note("uses_conda", invocation.uses_conda, workflow)
    note("quietness", lambda: sorted(output.quietness(workflow)))
    note("tells_everything", output.tells_everything, workflow)
    note("wrap_stream_handler", lambda: output.wrap_stream_handler(lambda h: h) is not None)
    note("group_jobs_anew", cluster.group_jobs_anew)
    note("is_imported", modules.is_imported, workflow)
    note("rule_names", lambda: modules.rule_names(workflow)("good"))
    note("moves_paths", modules.moves_paths, workflow)
    chained = said["chained"] = ["ok", []]
    calls = [lambda: chained[1].append(1), None, lambda: chained[1].append(3)]
    note("chain_handlers", modules.chain_handlers, workflow, *calls)
    for name in {shortcuts}:
        note(name, getattr(shortcuts, name))
    keep()

def listed(wildcards):
    output = modules.checkpoint_output(workflow, "listing")
    said["checkpoint_output"] = ["ok", str(output[0])]
    return output

rule all:
    input: "good", "bad", "done"

rule by_function:
    input: "good"
    output: touch("done")
    shell: "exit 1"

checkpoint listing:
    output: touch("listed")

rule good:
    input: listed
    output: touch("good")
    resources: slurm_account="'mine'"

rule bad:
    input: "done"  # so that it comes last: no other job is started after it
    output: "bad"
    shell: "echo x >> tries; exit 1"

onstart:
    note("stop_at_first_failure", scheduling.stop_at_first_failure, workflow)
    note("do_not_limit_job_rate", scheduling.do_not_limit_job_rate, workflow)
    end = scheduling.end_cleanly_when_terminated
    note("end_cleanly_when_terminated", end, workflow, lambda: None)
    note("command_of", commands.command_of, workflow, "bad")
    done = lambda values: done_by.append(str(values["output"])) or 0
    done_by = said["done by"] = []
    note("do_commands_by", commands.do_commands_by, workflow, "by_function", done)
    note("schedule_among", scheduling.schedule_among, workflow, 5)
    note("forget_conda", commands.forget_conda, workflow)
    note("never_try_again", scheduling.never_try_again, workflow, "bad")
    note("keep_config_off_command_lines", cluster.keep_config_off_command_lines, workflow)
    note("executor_name", cluster.executor_name, workflow)
    note("given_resource", cluster.given_resource, workflow, "good", "slurm_account")
    note("given_resource, not set", cluster.given_resource, workflow, "bad", "slurm_account")
    note("jobs_in_group", cluster.jobs_in_group, workflow, "good")
    note("count_jobs", jobs.count_jobs, workflow, "good")
    note("run_name", cluster.run_name, workflow)
    note("has_scheduler", jobs.has_scheduler, workflow)
    note("had_nothing_to_do", jobs.had_nothing_to_do, workflow)
    note("only_touches", invocation.only_touches, workflow)
    keep()

onerror:
    note("failed_jobs", lambda: [job.name for job in jobs.failed_jobs(workflow)])
    keep()
"""

EXPECTED = {
    "command_line": True,
    "config_files": ["given.yaml"],
    "targets": ["all"],
    "forced_rules": ["good"],
    "last_rules": [],
    "leaves_out_hooks": False,
    "only_looks": False,
    "only_touches": False,
    "runs_jobs": True,
    "has_scheduler before": False,
    "is_dry_run": False,
    "is_usual": True,
    "uses_conda": False,
    "quietness": ["host", "reason"],
    "tells_everything": False,
    "wrap_stream_handler": True,
    "count_jobs": 1,
    "group_jobs_anew": None,
    "is_imported": False,
    "rule_names": "good",
    "moves_paths": False,
    "chain_handlers": None,
    "chained": [1, 3],
    "checkpoint_output": "listed",
    "stop_at_first_failure": None,
    "do_not_limit_job_rate": None,
    "end_cleanly_when_terminated": None,
    "command_of": "echo x >> tries; exit 1",
    "do_commands_by": None,
    "schedule_among": None,
    "forget_conda": None,
    "never_try_again": None,
    "keep_config_off_command_lines": None,
    "executor_name": "local",
    "given_resource": "mine",
    "given_resource, not set": None,
    "jobs_in_group": 7,
    "had_nothing_to_do": False,
    "has_scheduler": True,
    "failed_jobs": ["bad"],
}

# Of each, whether it was taken: Snakemake is as it was when they were written.
SHORTCUTS = [
    "find_remaining_when_asked",
    "ask_rules_for_pipes",
    "remember_signatures",
    "write_records_in_one_go",
    "remember_commands",
    "format_from_few_names",
    "remember_last_checksum",
    "skip_rules_without_conda",
]
EXPECTED |= dict.fromkeys(SHORTCUTS, True)


@pytest.fixture(scope="module")
def said(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[object]]:
    folder = tmp_path_factory.mktemp("internals")
    text = SNAKEFILE.format(scripts=str(REPOSITORY / "scripts"), shortcuts=SHORTCUTS)
    (folder / "Snakefile").write_text(text)
    (folder / "given.yaml").write_text("key: value\n")
    options = ["--cores", "1", "--retries", "2", "--forcerun", "good", "--keep-going"]
    options += ["--quiet", "host", "reason", "--configfile", "given.yaml"]
    groups = ["--groups", "good=g", "--group-components", "g=7"]
    done = subprocess.run(
        [sys.executable, "-m", "snakemake", "all", *options, *groups],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1, done.stderr
    found: dict[str, list[object]] = json.loads((folder / "said.json").read_text())
    found["tries of bad"] = ["ok", len((folder / "tries").read_text().split())]
    return found


@pytest.mark.parametrize("name", EXPECTED)
def test_it_is_there(said: dict[str, list[object]], name: str) -> None:
    assert said[name] == ["ok", EXPECTED[name]]


def test_a_rule_is_not_tried_again_once_that_is_said(said: dict[str, list[object]]) -> None:
    assert said["tries of bad"] == ["ok", 1]


def test_a_command_is_done_by_a_function(said: dict[str, list[object]]) -> None:
    assert said["done by"] == ["done"]


def test_the_name_of_a_run_is_asked_of_its_executor(said: dict[str, list[object]]) -> None:
    # The local executor has none: what is missing is named.
    outcome, text = said["run_name"]
    assert outcome == "ok" or "run_uuid" in str(text)


def test_the_executor_of_slurm_names_its_runs() -> None:
    from snakemake_executor_plugin_slurm import Executor

    assert "run_uuid" in inspect.getsource(Executor)


def test_every_function_is_tried_here() -> None:
    package = pkgutil.iter_modules(snakemake_internals.__path__, f"{snakemake_internals.__name__}.")
    functions = {
        name
        for module in (*(importlib.import_module(one.name) for one in package), snakemake_shortcuts)
        for name, value in vars(module).items()
        if inspect.isfunction(value) and not name.startswith("_")
    }
    others = {"run_name", "version_warnings", "take_shortcuts", "set_existing"}
    assert {*EXPECTED} & functions and functions <= {*EXPECTED} | others


def test_an_attribute_that_is_gone_is_not_set_but_named() -> None:
    with pytest.raises(AttributeError, match="keepgoing"):
        set_existing(SimpleNamespace(), "keepgoing", False)


def test_the_modes_that_only_look_are_options_of_the_command_line() -> None:
    known = vars(get_argument_parser().parse_args([]))
    assert set(invocation._OTHER_MODES) <= known.keys()


@pytest.mark.parametrize(
    ("version", "is_newer"),
    [("9.27.0", False), ("9.27.1", False), ("9.28.0", True), ("10.0", True), ("9.9.9", False)],
)
def test_a_newer_snakemake_is_warned_of(version: str, is_newer: bool) -> None:
    warnings = version_warnings(version)
    assert bool(warnings) is is_newer
    assert all(version in warning and "9.27" in warning for warning in warnings)


def test_a_working_directory_called_verify_is_no_target(tmp_path: Path) -> None:
    root = tmp_path / "verify"
    write_sample(root / "source" / "a", 0)
    workspace = Workspace(root)
    assert workspace.run().converted == ["a"]
    assert workspace.listed() == ["a"]


def test_a_configfile_called_estimate_is_no_target(workspace: Workspace) -> None:
    write_sample(workspace.source / "a", 0)
    command = workspace.command()
    configfile = workspace.root / "estimate"
    configfile.write_text((workspace.root / "settings.yaml").read_text())
    command[command.index(str(workspace.root / "settings.yaml"))] = "estimate"
    done = subprocess.run(command, cwd=workspace.root, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert workspace.listed() == ["a"]
    assert done.stderr.splitlines()[-1].startswith("aerozarr: results/store/manifest.json lists 1")


@pytest.mark.parametrize("option", ["--touch", "--summary", "--unlock", "--list-target-rules"])
def test_a_mode_that_only_looks_removes_nothing(converted: Workspace, option: str) -> None:
    fragments = sorted(converted.work.rglob("fragments/*/*.json"))
    write_sample(converted.source / "a", 9)
    converted.config["shuffle_seed"] = 5
    converted.run(option, ok=None)
    assert sorted(converted.work.rglob("fragments/*/*.json")) == fragments
    assert converted.run().converted == ["a", "b", "deep%2Fc"]
