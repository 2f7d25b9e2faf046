"""What the command of a rule asks the fork server for."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from aerozarr.workflow.direct_jobs import Request, request_of

COMMAND = (
    "exec {params.python:q} -S -E {params.script:q} --key={wildcards.key:q}"
    " --fragment={output.fragment:q} 2> {log:q}"
)


def test_a_job_asks_for_what_its_command_would() -> None:
    request = request_of(COMMAND, "convert_sample")
    assert request is not None
    values = {
        "wildcards": SimpleNamespace(key="it's {0} $(x) b"),
        "output": SimpleNamespace(fragment="a b.json"),
        "log": "logs/a b.log",
    }
    texts = ["convert_sample", "--key=it's {0} $(x) b", "--fragment=a b.json"]
    assert request.of(values) == Request(texts, "logs/a b.log")


@pytest.mark.parametrize(
    "command",
    [
        "{params.python:q} {params.script:q} --key={wildcards.key:q} 2> {log:q}",
        COMMAND.replace("-S -E", "-S"),
        COMMAND.replace("2> {log:q}", ""),
        "true",
    ],
)
def test_another_command_is_none_of_a_client(command: str) -> None:
    assert request_of(command, "convert_sample") is None
