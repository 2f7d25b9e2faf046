"""One job by hand, without Snakemake: in a debugger, or under a profiler.

    PYTHONPATH=scripts python -m aerozarr.workflow.by_hand convert_sample --key=run_1

Settings are given as to Snakemake, with `--configfile` and `--config`. It takes what a run has left
in the work folder, such as the sample table.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from aerozarr.config.repeated_keys import check_no_key_twice
from aerozarr.errors import AerozarrError, SettingsError
from aerozarr.run_config import INCOMPLETE, MERGED, REPORT, SAMPLES, RunConfig
from aerozarr.workflow.entry_point import in_this_process

JOBS = ("convert_sample", "merge_manifest")


def main(arguments: Sequence[str]) -> int:
    """Do the job that the command line names, in this process; return its exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m aerozarr.workflow.by_hand",
        description="Do one job of a run, in this process.",
    )
    parser.add_argument("job", choices=JOBS)
    parser.add_argument("--key", help="the sample's, from the table samples.tsv")
    parser.add_argument("--configfile", action="append", default=[], type=Path)
    parser.add_argument("--config", nargs="+", default=[], metavar="KEY=VALUE")
    given = parser.parse_args(arguments)
    if given.job == "convert_sample" and given.key is None:
        parser.error("convert_sample needs --key")
    try:
        config = RunConfig.from_config(_settings(given.configfile, given.config))
    except AerozarrError as error:
        print(f"aerozarr: {error}", file=sys.stderr)
        return 1
    table = f"--table={config.place(SAMPLES)}"
    if given.job == "convert_sample":
        fragment = config.fragment(given.key)
        fragment.parent.mkdir(parents=True, exist_ok=True)
        options = [table, f"--key={given.key}", f"--fragment={fragment}"]
    else:
        places = {"incomplete": INCOMPLETE, "merged": MERGED, "report": REPORT}
        options = [table, *(f"--{key}={config.place(name)}" for key, name in places.items())]
    return in_this_process(given.job, options)


def _settings(files: Sequence[Path], texts: Sequence[str]) -> dict[str, Any]:
    """Return what files and `key=value` say, the later in place of the earlier."""
    check_no_key_twice(files)
    settings: dict[str, Any] = {}
    for file in files:
        try:
            settings |= yaml.safe_load(file.read_text("utf-8")) or {}
        except (OSError, yaml.YAMLError, TypeError) as error:
            raise SettingsError(f"{file} cannot be read as settings: {error}") from None
    for text in texts:
        key, sign, value = text.partition("=")
        if not sign:
            raise SettingsError(f"--config {text}: write key=value.")
        settings[key] = yaml.safe_load(value)
    return settings


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
