"""What the documentation site has besides `docs/`: mkdocs calls these functions when it builds.

The README, the benchmarks' page and the changelog are pages too, the notebook is shown as one, and
the settings are listed from their model. Links are written as they work in the repository; those
to pages outside of `docs/` are changed here to where these are on the site, and other files that
are linked are copied to it.
"""

from __future__ import annotations

import base64
import json
import posixpath
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from mkdocs.structure.files import File

if TYPE_CHECKING:
    from mkdocs.config.defaults import MkDocsConfig
    from mkdocs.structure.files import Files
    from mkdocs.structure.pages import Page

REPOSITORY = Path(__file__).resolve().parents[1]

# Pages outside of docs/, and where they are on the site.
OUTSIDE = {
    "README.md": "index.md",
    "CHANGELOG.md": "changelog.md",
    "CONTRIBUTING.md": "contributing.md",
    "tests/benchmarks/README.md": "explanation/benchmarks.md",
}
SETTINGS_MARK = "<!-- the settings, from their model -->"
_LINK = re.compile(r"(?<!`)(\[[^\]]*\])\(([^)\s]+)\)")
_CODE = re.compile(r"(^ *```.*?^ *```|`[^`\n]+`)", re.MULTILINE | re.DOTALL)


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages that are not in `docs/`, and the files that pages link."""
    for path, page in OUTSIDE.items():
        if (REPOSITORY / path).exists():
            files.append(File.generated(config, page, abs_src_path=str(REPOSITORY / path)))
    for notebook in [each for each in files if each.src_uri.endswith(".ipynb")]:
        text, pictures = notebook_page(Path(notebook.abs_src_path or ""))
        name = notebook.src_uri.removesuffix(".ipynb")
        files.append(File.generated(config, f"{name}.md", content=text))
        for picture, content in pictures.items():
            place = f"{posixpath.dirname(name)}/{picture}"
            files.append(File.generated(config, place, content=content))
    for page in list(files.documentation_pages()):
        for _, target in _LINK.findall(_CODE.sub("", page.content_string)):
            path = linked_file(page.src_uri, target)
            if path and files.get_file_from_path(f"files/{path}") is None:
                place = str(REPOSITORY / path)
                files.append(File.generated(config, f"files/{path}", abs_src_path=place))
    return files


def on_page_markdown(markdown: str, *, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Change the links of a page to where their targets are on the site; list the settings."""
    here = page.file.src_uri

    def link(match: re.Match[str]) -> str:
        words, target = match[1], match[2]
        place = place_on_site(here, target)
        if place is None:
            return words[1:-1]  # a folder of the repository, which the site has not
        return f"{words}({place})"

    parts = _CODE.split(markdown)
    text = "".join(
        part if number % 2 else _LINK.sub(link, part) for number, part in enumerate(parts)
    )
    # Where words of a link are code, the split above goes through it.
    text = re.sub(r"(\[`[^`\n]+`\])\(([^)\s]+)\)", link, text)
    return text.replace(SETTINGS_MARK, settings_page()) if SETTINGS_MARK in text else text


def repository_path(page: str, target: str) -> str:
    """Return the path in the repository of what a page links; empty for URLs and anchors."""
    path = target.partition("#")[0]
    if not path or ":" in path:
        return ""
    source = {place: outside for outside, place in OUTSIDE.items()}.get(page, f"docs/{page}")
    return posixpath.normpath(posixpath.join(posixpath.dirname(source), path))


def linked_file(page: str, target: str) -> str:
    """Return the path of a file outside of `docs/` that is no page; empty for anything else."""
    path = repository_path(page, target)
    is_outside = path and not path.startswith("docs/") and path not in OUTSIDE
    return path if is_outside and (REPOSITORY / path).is_file() else ""


def place_on_site(page: str, target: str) -> str | None:
    """Return the link from a page to what it links; None for a folder of the repository."""
    path = repository_path(page, target)
    if not path:
        return target
    if path.startswith("docs/"):
        place = path.removeprefix("docs/")
        place = f"{place.removesuffix('.ipynb')}.md" if place.endswith(".ipynb") else place
    elif path in OUTSIDE:
        place = OUTSIDE[path]
    elif (REPOSITORY / path).is_dir():
        return None
    else:
        place = f"files/{path}"
    anchor = target.partition("#")[1:]
    return posixpath.relpath(place, posixpath.dirname(page) or ".") + "".join(anchor)


def notebook_page(path: Path) -> tuple[str, dict[str, bytes]]:
    """Return a notebook as Markdown with its outputs, and its pictures by name."""
    parts: list[str] = []
    pictures: dict[str, bytes] = {}
    for cell in json.loads(path.read_text(encoding="utf-8"))["cells"]:
        source = "".join(cell["source"])
        if cell["cell_type"] == "markdown":
            parts.append(source)
            continue
        parts.append(f"```python\n{source}\n```")
        for output in cell["outputs"]:
            data = output.get("data", {})
            if "image/png" in data:
                name = f"{path.stem}-{len(pictures) + 1}.png"
                pictures[name] = base64.b64decode(data["image/png"])
                parts.append(f"![What the cell above draws]({name})")
                continue
            text = "".join(output.get("text", data.get("text/plain", ""))).rstrip()
            if text:
                parts.append(f"```text\n{text}\n```")
    return "\n\n".join(parts) + "\n", pictures


def settings_page() -> str:
    """Return every setting with its default and meaning, from the settings model."""
    sys.path.insert(0, str(REPOSITORY / "scripts"))
    from aerozarr.config.settings_documents import settings_sections

    return settings_sections()
