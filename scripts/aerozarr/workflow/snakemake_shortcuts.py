"""What Snakemake does anew for each job, done once, or faster, with the same outcome.

One function each, all of them private uses of Snakemake, found in 9.27. A function changes nothing,
and returns False, where what it replaces is not what it was written for: then Snakemake goes its
own, slower way. Files, records and log lines are the same either way.
"""

from __future__ import annotations

import collections
import contextlib
import functools
import inspect
import json
import operator
import os
import string
import weakref
from collections.abc import Awaitable, Callable, Iterator, Sequence
from types import CodeType, FunctionType, MethodType
from typing import Any

# Jobs whose commands are remembered: more than run at the same time.
_COMMANDS = 1024


def take_shortcuts() -> None:
    """Take all shortcuts that there are; called while the rules are read."""
    shortcuts: tuple[Callable[[], bool], ...] = (
        find_remaining_when_asked,
        ask_rules_for_pipes,
        remember_signatures,
        write_records_in_one_go,
        remember_commands,
        format_from_few_names,
        remember_last_checksum,
        skip_rules_without_conda,
    )
    for shortcut in shortcuts:
        # Each replaces something last of all, so what is gone leaves everything as it was.
        with contextlib.suppress(ImportError, AttributeError):
            shortcut()


def find_remaining_when_asked() -> bool:
    """Find the jobs that remain when somebody asks (`JobScheduler.remaining_jobs`).

    The scheduler does so whenever it chooses jobs, by looking at all that there are, and the greedy
    one never asks: of 10,000 jobs that is 10,000 looks at up to 10,000.
    """
    from snakemake.scheduling.job_scheduler import JobScheduler

    find = _getter_of(JobScheduler, "remaining_jobs")
    if not _is_known(find, "workflow dag needrun_jobs running finished failed"):
        return False

    def remaining_jobs(self: Any) -> Sequence[Any]:
        return _Late(functools.partial(find, self))

    JobScheduler.remaining_jobs = property(remaining_jobs)
    return True


class _Late(Sequence[Any]):
    """A sequence that is made when it is looked at."""

    def __init__(self, make: Callable[[], list[Any]]) -> None:
        self._make = make

    @functools.cached_property
    def _items(self) -> list[Any]:
        return self._make()

    def __len__(self) -> int:
        return len(self._items)

    def __getitem__(self, index: Any) -> Any:
        return self._items[index]

    def __iter__(self) -> Iterator[Any]:
        return iter(self._items)


def ask_rules_for_pipes() -> bool:
    """Ask no job for pipes where no rule has any (`Job.is_pipe_or_service_input`).

    Before a job starts, Snakemake looks for each of its inputs through the jobs that make them: for
    the merge of 10,000 samples that is 50 million looks.
    """
    from snakemake.io import is_flagged
    from snakemake.jobs import Job

    ask = Job.is_pipe_or_service_input
    if not _is_known(ask, "dag dependencies items pipe_or_service_output"):
        return False

    # Of the workflow that asked last; a process may run several.
    last: tuple[Any, bool] = None, True

    def is_pipe_or_service_input(self: Any, path: Any) -> bool:
        nonlocal last
        workflow = self.dag.workflow
        if last[0] is not workflow:
            # Asked when jobs run: all rules are known then.
            outputs = [output for rule in workflow.rules for output in rule.output]
            last = workflow, any(is_flagged(o, "pipe") or is_flagged(o, "service") for o in outputs)
        return last[1] and bool(ask(self, path))

    Job.is_pipe_or_service_input = is_pipe_or_service_input
    return True


def remember_signatures() -> bool:
    """Look once at what an input function takes (`get_function_params`).

    Snakemake inspects each function of each parameter and resource several times for each job.
    """
    from snakemake import common, rules

    inspect_again = common.get_function_params
    names = "hasattr FUNC_OVERWRITE_PARAMS_ATTR getattr inspect signature parameters"
    if not _is_known(inspect_again, names) or rules.get_function_params is not inspect_again:
        return False
    # A method's are without `self`, so they are kept apart.
    known: tuple[weakref.WeakKeyDictionary[Any, Any], ...] = (
        weakref.WeakKeyDictionary(),
        weakref.WeakKeyDictionary(),
    )

    def get_function_params(func: Any) -> Any:
        is_method = type(func) is MethodType
        plain = func.__func__ if is_method else func
        if type(plain) is not FunctionType or hasattr(plain, common.FUNC_OVERWRITE_PARAMS_ATTR):
            return inspect_again(func)
        found = known[is_method].get(plain)
        if found is None:
            found = known[is_method][plain] = inspect_again(func)
        return found

    common.get_function_params = rules.get_function_params = get_function_params
    return True


def write_records_in_one_go() -> bool:
    """Write the record of a file that has none yet with fewer system calls (`_io_write`).

    Twice for each output: that it is incomplete, and what made it. Snakemake looks for the file,
    makes its folder, and has Python's slow encoder write the text bit by bit.
    """
    from snakemake.persistence.file import FilePersistence

    write = FilePersistence._io_write
    names = "_record_path os stat FileNotFoundError path dirname makedirs open json dump chmod"
    if not _is_known(write, f"{names} S_IMODE st_mode") or len(write.__defaults__ or ()) != 1:
        return False
    usual_mode = write.__defaults__[0]

    def _io_write(self: Any, subject: Any, value: Any, id: str, mode: int = usual_mode) -> None:
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
        text = json.dumps(value).encode("ascii")
        try:
            file = os.open(self._record_path(subject, id), flags, 0o666)
        except (FileExistsError, FileNotFoundError):  # a record, or a folder that is not there
            write(self, subject, value, id, mode)
            return
        try:
            while text:
                text = text[os.write(file, text) :]
            os.fchmod(file, mode)
        finally:
            os.close(file)

    FilePersistence._io_write = _io_write
    return True


def remember_commands() -> bool:
    """Put a job's command together once (`Job.shellcmd`).

    Snakemake does so three times when it says that a job starts, and once for its record. The
    command is put together anew when anything that it may name was evaluated anew.
    """
    from snakemake.jobs import Job

    make: Callable[[Any], str | None] = _getter_of(Job, "shellcmd")
    names = "format_wildcards rule shellcmd AttributeError RuleException str KeyError format"
    values = ("_params", "_resources", "_input", "_output", "_log")
    if not _is_known(make, names) or not {*values} <= {*Job.__slots__}:
        return False
    values_of = operator.attrgetter(*values)
    known: collections.OrderedDict[Any, tuple[tuple[Any, ...], str | None]]
    known = collections.OrderedDict()

    def made_of(job: Any) -> tuple[Any, ...]:
        return *values_of(job), job.rule.shellcmd

    def shellcmd(self: Any) -> str | None:
        made, command = known.get(self, ((), None))
        if made and all(a is b and a is not None for a, b in zip(made, made_of(self), strict=True)):
            return command
        command = make(self)
        known[self] = made_of(self), command
        if len(known) > _COMMANDS:
            known.popitem(last=False)
        return command

    Job.shellcmd = property(shellcmd)
    return True


# What a command or a message of a job may name without the names of its Snakefile.
_OF_JOB = frozenset({"input", "output", "params", "threads", "resources", "log"})


def format_from_few_names() -> bool:
    """Fill in a job's command and message from what they name (`Job.format_wildcards`).

    Snakemake copies all names of the Snakefile, and of its own module, for each.
    """
    from snakemake import utils
    from snakemake.jobs import Job

    fill_in = Job.format_wildcards
    names = "dict update rule workflow globals input output params _format_wildcards threads"
    names += " resources log jobid name format Exception RuleException __class__ __name__"
    formats = "inspect currentframe f_back dict f_globals update f_locals sys version_info"
    formats += " SequenceFormatter AlwaysQuotedFormatter element_formatter"
    formats += " QuotedFormatter format KeyError str strip keys NameError"
    if not _is_known(fill_in, names) or not _is_known(utils.format, formats):
        return False
    formatter = utils.SequenceFormatter(separator=" ")
    formatter.element_formatter = utils.QuotedFormatter(None)

    def format_wildcards(self: Any, string: str, **variables: Any) -> str:
        if not variables:
            try:
                named = _heads(string)
                if named <= {*_OF_JOB, "wildcards"}:
                    values = {name: getattr(self, name) for name in named & _OF_JOB}
                    values["wildcards"] = self._format_wildcards
                    return str(formatter.vformat(string, (), values))
            except Exception:  # noqa: BLE001 - what is wrong, Snakemake says in its own words
                pass
        return str(fill_in(self, string, **variables))

    Job.format_wildcards = format_wildcards
    return True


@functools.lru_cache(maxsize=64)
def _heads(text: str) -> frozenset[str]:
    """Return the first names of what stands in a text's braces; empty ones for what is unusual."""
    heads = set()
    for _, name, specification, _ in string.Formatter().parse(text):
        if name is not None:
            head = name.partition(".")[0]
            heads.add("" if "[" in name or "{" in (specification or "") else head)
    return frozenset(heads)


def remember_last_checksum() -> bool:
    """Read a file once for its checksum, until it changes (`_IOFile.checksum`).

    The sample table is an input of each sample's job, and Snakemake would read it for each.
    """
    from snakemake.io import _IOFile

    compute: Callable[..., Awaitable[str | None]] = _IOFile.checksum
    names = "rule workflow iocache active checksum split isinstance str name is_storage hashlib"
    names += " sha256 storage_object managed_checksum retrieve_from_storage is_checksum_eligible"
    if not _is_known(compute, f"{names} size_local open file file_digest BytesIO hexdigest"):
        return False
    last: tuple[Any, str | None] = None, None

    async def checksum(
        self: Any, threshold: int | None = None, force: bool = False, algorithm: Any = None
    ) -> str | None:
        nonlocal last
        is_usual = not force and algorithm is None and not self.is_storage
        if not is_usual or self.rule is None or self.rule.workflow.iocache.active:
            return await compute(self, threshold, force, algorithm)
        try:
            status = os.stat(self.file)
        except OSError:
            return await compute(self, threshold)
        change = status.st_size, status.st_mtime_ns, status.st_ctime_ns
        key = str(self.file), threshold, status.st_dev, status.st_ino, change
        if last[0] != key:
            last = key, await compute(self, threshold)
        return last[1]

    _IOFile.checksum = checksum
    return True


def skip_rules_without_conda() -> bool:
    """Evaluate no parameters for the conda environment of a rule without (`conda_env_spec`).

    Snakemake does so for every job when it has planned, and once more when it runs.
    """
    from snakemake.jobs import Job
    from snakemake.rules import Rule

    find = _getter_of(Job, "conda_env_spec")
    names = "_conda_env_spec rule expand_conda_env wildcards_dict params input"
    if not _is_known(find, names) or not _is_known(_getter_of(Rule, "conda_env"), "_conda_env"):
        return False

    def conda_env_spec(self: Any) -> Any:
        return None if self.rule.conda_env is None else find(self)

    Job.conda_env_spec = property(conda_env_spec)
    return True


def _getter_of(holder: type, name: str) -> Any:
    """Return the function of a property."""
    return getattr(inspect.getattr_static(holder, name, None), "fget", None)


def _is_known(function: Any, names: str) -> bool:
    """Whether a function uses these names, and no others: then it is the one that was read."""
    code = getattr(function, "__code__", None)
    return code is not None and _names_of(code) == {*names.split()}


def _names_of(code: CodeType) -> set[str]:
    nested = [_names_of(one) for one in code.co_consts if isinstance(one, CodeType)]
    return set(code.co_names).union(*nested)
