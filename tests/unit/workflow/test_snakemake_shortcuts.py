"""What stands in for Snakemake's own code does the same, and stays out where that is another."""

from __future__ import annotations

import asyncio
import functools
import json
import os
import shlex
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from snakemake import common, rules
from snakemake.exceptions import RuleException
from snakemake.io import IOCache, _IOFile, flag
from snakemake.iocontainers import InputFiles, Log, OutputFiles, Params, Wildcards
from snakemake.jobs import Job
from snakemake.persistence.file import FilePersistence
from snakemake.scheduling.job_scheduler import JobScheduler

from aerozarr.workflow import snakemake_shortcuts as shortcuts

# What each replaces.
REPLACED: dict[str, list[tuple[Any, str]]] = {
    "find_remaining_when_asked": [(JobScheduler, "remaining_jobs")],
    "ask_rules_for_pipes": [(Job, "is_pipe_or_service_input")],
    "remember_signatures": [(common, "get_function_params"), (rules, "get_function_params")],
    "write_records_in_one_go": [(FilePersistence, "_io_write")],
    "remember_commands": [(Job, "shellcmd")],
    "format_from_few_names": [(Job, "format_wildcards")],
    "remember_last_checksum": [(_IOFile, "checksum")],
    "skip_rules_without_conda": [(Job, "conda_env_spec")],
}


@pytest.fixture
def take(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Any]:
    """Return what takes a shortcut for the time of a test, and returns what it replaced."""

    def take_one(name: str) -> Any:
        before = [vars(holder)[attribute] for holder, attribute in REPLACED[name]]
        for (holder, attribute), value in zip(REPLACED[name], before, strict=True):
            monkeypatch.setattr(holder, attribute, value)  # so that it is put back
        assert getattr(shortcuts, name)() is True
        return before[0]

    return take_one


@pytest.mark.parametrize("name", REPLACED)
def test_what_is_another_function_is_left_alone(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def another(self: Any, *_: Any) -> object:
        return self.something_else

    holder, attribute = REPLACED[name][0]
    is_property = isinstance(vars(holder)[attribute], property)
    other = property(another) if is_property else another
    monkeypatch.setattr(holder, attribute, other)
    assert getattr(shortcuts, name)() is False
    assert vars(holder)[attribute] is other


def test_what_is_gone_costs_no_other_shortcut(monkeypatch: pytest.MonkeyPatch) -> None:
    own = {place: vars(place[0])[place[1]] for places in REPLACED.values() for place in places}
    for (holder, attribute), value in own.items():
        monkeypatch.setattr(holder, attribute, value)  # so that it is put back
    monkeypatch.setitem(sys.modules, "snakemake.persistence.file", None)
    monkeypatch.delattr(_IOFile, "checksum")
    shortcuts.take_shortcuts()
    kept = {
        attribute
        for (holder, attribute), value in own.items()
        if vars(holder).get(attribute) is value
    }
    assert kept == {"_io_write"}
    assert not hasattr(_IOFile, "checksum")


def test_remaining_jobs_are_found_when_asked(take: Callable[..., Any]) -> None:
    take("find_remaining_when_asked")
    looks = []

    def needrun_jobs() -> list[str]:
        looks.append(1)
        return ["a", "b", "c", "d"]

    dag = SimpleNamespace(needrun_jobs=needrun_jobs, finished={"d"}.__contains__)
    scheduler = SimpleNamespace(workflow=SimpleNamespace(dag=dag), running={"a"}, failed={"c"})
    remaining = vars(JobScheduler)["remaining_jobs"].fget(scheduler)
    assert looks == []
    assert ([*remaining], len(remaining), remaining[0], bool(remaining)) == (["b"], 1, "b", True)
    assert looks == [1]


class _Node(SimpleNamespace):
    """What a graph holds: hashed by identity, as Snakemake's jobs are."""

    __hash__ = object.__hash__


def test_pipes_are_looked_for_where_a_rule_has_one(take: Callable[..., Any]) -> None:
    take("ask_rules_for_pipes")
    asked = vars(Job)["is_pipe_or_service_input"]
    for kind in ("", "pipe", "service", ""):
        output = flag("made", kind) if kind else "made"
        workflow = SimpleNamespace(rules=[SimpleNamespace(output=["x", output])])
        maker, job = _Node(pipe_or_service_output={"made"}), _Node()
        job.dag = SimpleNamespace(workflow=workflow, dependencies={job: {maker: {"made", "x"}}})
        assert [asked(job, "made"), asked(job, "x")] == [bool(kind), False]


class _Holder:
    def method(self, wildcards: object, input: object) -> None: ...


def _overwritten(*values: object) -> None: ...


common.overwrite_function_params(_overwritten, ["wildcards", "output"])

FUNCTIONS = [
    lambda wildcards, output: None,
    _Holder().method,
    _Holder.method,
    _overwritten,
    functools.partial(_Holder().method, input=1),
    functools.lru_cache(lambda wildcards: None),
]


@pytest.mark.parametrize("function", FUNCTIONS)
def test_a_function_takes_what_it_takes_also_when_asked_again(
    take: Callable[..., Any], function: Callable[..., object]
) -> None:
    own = take("remember_signatures")
    for _ in range(2):
        assert [*common.get_function_params(function)] == [*own(function)]
        assert common.get_input_function_aux_params(_Holder().method, {"input": 1, "x": 2}) == {
            "input": 1
        }


@pytest.mark.parametrize("key", ["a/b.json", "ä" * 200, "long" * 100])
def test_records_are_those_that_snakemake_writes(
    take: Callable[..., Any], tmp_path: Path, key: str
) -> None:
    records = FilePersistence(path=tmp_path / "state")
    folders = [str(tmp_path / "own"), str(tmp_path / "fast")]
    values = [{"params": ["ä\n\udc80", 1.5, None]}, {"again": "shorter"}]

    def written(folder: str) -> list[tuple[bytes, int]]:
        found = []
        for value in values:
            records._io_write(folder, value, key)
            (path,) = (path for path in Path(folder).rglob("*") if path.is_file())
            found.append((path.read_bytes(), path.stat().st_mode))
            os.chmod(path, 0o604)
        return found

    for folder in folders:
        os.mkdir(folder)
    before = os.umask(0o077)
    try:
        own = written(folders[0])
        take("write_records_in_one_go")
        assert written(folders[1]) == own
    finally:
        os.umask(before)
    assert json.loads(own[0][0]) == values[0]
    assert records._io_read(folders[1], key) == values[1]


def _job(**others: Any) -> Any:
    """Return a job of which only what its command names is there."""
    job = object.__new__(Job)
    names = {"name_of_the_snakefile": "N", "wildcards": "not these"}
    workflow = SimpleNamespace(globals=names)
    place = {"lineno": 1, "snakefile": "Snakefile"}
    command = "{input.a} {params.x:q}"
    job.rule = SimpleNamespace(name="r", workflow=workflow, shellcmd=command, **place)
    job.dag = SimpleNamespace(jobid=lambda _: 7)
    job._input = InputFiles(fromdict={"a": "in 1", "b": "in2"})
    job._output = OutputFiles(fromdict={"c": "out"})
    job._params = Params(fromdict={"x": "it's {0}", "y": [1, 2], "z": ""})
    job._log = Log(fromdict={"l": "log"})
    job._resources, job._aux_resources = SimpleNamespace(_cores=3), {}
    job._format_wildcards = Wildcards(fromdict={"key": "k k"})
    for name, value in others.items():
        setattr(job, name, value)
    return job


@pytest.mark.parametrize(
    "text",
    [
        "Converting {wildcards.key}",
        "{wildcards} {wildcards.key:q} {{literal}} {threads}",
        "exec {params.x:q} --y={params.y} -{params.z:q}- {input} {input.a:q} {output} 2> {log:q}",
        "{input[0]} {input[b]} {params[y]}",
        "{jobid} {name_of_the_snakefile} {rule}",
        "{params.x!r} {params.y:{threads}}",
        "no names",
    ],
)
def test_a_text_is_filled_in_as_snakemake_does(take: Callable[..., Any], text: str) -> None:
    own = take("format_from_few_names")
    assert _job().format_wildcards(text) == own(_job(), text)


@pytest.mark.parametrize("text", ["{params.missing}", "{unknown}", "{input.a"])
def test_what_cannot_be_filled_in_is_said_in_snakemakes_words(
    take: Callable[..., Any], text: str
) -> None:
    own = take("format_from_few_names")
    with pytest.raises(RuleException) as expected:
        own(_job(), text)
    with pytest.raises(RuleException) as found:
        _job().format_wildcards(text)
    assert str(found.value) == str(expected.value)


def test_a_command_is_put_together_once_until_its_values_change(take: Callable[..., Any]) -> None:
    take("remember_commands")
    job = _job()
    texts = []
    job.rule.workflow.globals = {}
    for params in (job._params, job._params, Params(fromdict={"x": "other"})):
        job._params = params
        texts.append(job.shellcmd)
    words = [shlex.quote("it's {0}")] * 2 + ["other"]
    assert texts == [f"in 1 {word}" for word in words]
    assert texts[0] is texts[1]
    job.input = InputFiles(fromdict={"a": "new"})
    assert job.shellcmd == "new other"
    assert _job().shellcmd != "new other"


def _file(path: Path) -> Any:
    cache = IOCache(0)
    cache.deactivate()
    file = _IOFile(str(path), rule=None)
    file.rule = SimpleNamespace(workflow=SimpleNamespace(iocache=cache))
    return file


def test_a_checksum_is_that_of_the_file_as_it_is(take: Callable[..., Any], tmp_path: Path) -> None:
    take("remember_last_checksum")

    def checksum(name: str, threshold: int = 100) -> str | None:
        return asyncio.run(_file(tmp_path / name).checksum(threshold))

    (tmp_path / "a").write_text("1")
    (tmp_path / "b").write_text("2")
    first = checksum("a")
    assert first is not None and first.startswith("sha256:6b86b273")
    assert checksum("a") == first
    assert checksum("b") != first
    assert checksum("a", threshold=0) is None
    assert checksum("a") == first
    (tmp_path / "c").write_text("3")
    (tmp_path / "c").replace(tmp_path / "a")  # as tables are
    assert checksum("a") not in (first, None)
    assert checksum("gone") is None


def test_a_checksum_is_computed_once(
    take: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    take("remember_last_checksum")
    (tmp_path / "a").write_text("1")
    looks = []
    look = _IOFile.is_checksum_eligible

    def counted(self: Any, threshold: int) -> Any:
        looks.append(1)
        return look(self, threshold)

    monkeypatch.setattr(_IOFile, "is_checksum_eligible", counted)
    for _ in range(3):
        asyncio.run(_file(tmp_path / "a").checksum(100))
    assert looks == [1]


def test_a_conda_environment_is_asked_for_where_a_rule_has_one(take: Callable[..., Any]) -> None:
    take("skip_rules_without_conda")
    job = _job(_conda_env_spec="env")
    job.rule.conda_env = None
    assert job.conda_env_spec is None
    job.rule.conda_env = "env.yaml"
    assert job.conda_env_spec == "env"
