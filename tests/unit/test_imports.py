"""What every start of Snakemake imports."""

import re
import subprocess
import sys
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]


def test_the_rules_import_none_of_what_takes_long() -> None:
    # torch alone takes a second, of a run that may have nothing to do.
    modules = {
        name
        for rules in (REPOSITORY / "rules").glob("*.smk")
        for name in re.findall(r"^from (aerozarr[\w.]*) import", rules.read_text(), re.MULTILINE)
    }
    assert len(modules) > 5
    code = (
        f"import sys; import {', '.join(sorted(modules))}; "
        "print(*sorted({'torch', 'zarr', 'pandas', 's3fs'} & {*sys.modules}))"
    )
    found = subprocess.run(
        [sys.executable, "-c", code],
        cwd=REPOSITORY / "scripts",
        capture_output=True,
        text=True,
        check=True,
    )
    assert found.stdout.split() == []
