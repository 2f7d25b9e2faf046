"""What is made from the settings' model: config.yaml, its schema, and the tables of documents.

`python -m aerozarr.config.settings_documents yaml` (or `schema`, or `table`) prints them; a test
fails when they drift.
"""

from __future__ import annotations

import json
import sys
import textwrap

from aerozarr.config.settings import Settings, default_of, expectation_of

_YAML_HEAD = """\
# yaml-language-server: $schema=config.schema.json
# All settings of aerozarr, at their defaults, which convert the bundled example.
# Give your own in a file (snakemake --configfile mine.yaml) or one by one
# (snakemake --config source_url=/data/cars dataset=shapenet_car); what you leave out
# keeps the value given here.
"""


def settings_yaml() -> str:
    """Return the text of config.yaml: every setting at its default, commented."""
    parts = [_YAML_HEAD]
    for key, field in Settings.model_fields.items():
        comment = textwrap.fill(
            field.description or "", 92, initial_indent="# ", subsequent_indent="# "
        )
        parts.append(f"{comment}\n{key}: {default_of(key)}\n")
    return "\n".join(parts)


def settings_table() -> str:
    """Return the README's table of settings, in Markdown."""
    rows = ["| key | default | meaning |", "|---|---|---|"]
    for key, field in Settings.model_fields.items():
        rows.append(f"| `{key}` | `{default_of(key)}` | {field.description} |")
    return "\n".join(rows) + "\n"


def settings_schema() -> str:
    """Return the text of config.schema.json: the settings as a JSON schema, for editors.

    What it refuses, `load_settings` refuses too. That refuses more, such as settings that do not go
    together.
    """
    schema = Settings.model_json_schema(mode="validation")
    for model in (schema, *schema["$defs"].values()):
        # The docstrings are for those who read the code.
        model.pop("description", None)
        for said in model.get("properties", {}).values():
            said.pop("expects", None)
            said.pop("title", None)
    head = {"$schema": "https://json-schema.org/draft/2020-12/schema"}
    content = {**head, **schema, "title": "Settings of aerozarr"}
    return json.dumps(content, indent=2, ensure_ascii=False) + "\n"


def settings_sections() -> str:
    """Return every setting under a heading of its own, in Markdown, for the documentation site."""
    parts = []
    for key, field in Settings.model_fields.items():
        default = "none" if field.default is None else f"`{default_of(key)}`"
        parts.append(
            f"## `{key}` {{ #{key} }}\n\n{field.description}\n\n"
            f"*{expectation_of(key)}.* Default: {default}.\n"
        )
    return "\n".join(parts)


if __name__ == "__main__":
    _made = {"yaml": settings_yaml, "table": settings_table, "schema": settings_schema}
    print(_made[sys.argv[1]](), end="")
