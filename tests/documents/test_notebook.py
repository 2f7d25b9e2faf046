"""The notebook of the tutorial runs as it is, and shows what it showed."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

from documents.pages import REPOSITORY, Reader
from workflow.harness import NO_CLOUDS

PAGE = "docs/tutorials/first-store.ipynb"


def printed(notebook: nbformat.NotebookNode) -> list[str]:
    """Return what the cells printed, cell by cell, but for the numbers of the training."""
    texts = [
        "".join(output.text for output in cell.outputs if output.output_type == "stream")
        for cell in notebook.cells
        if cell.cell_type == "code"
    ]
    return [text for text in texts if "loss" not in text and "error over" not in text]


def test_the_notebook_converts_verifies_looks_and_trains(
    reader: Callable[[], Reader], monkeypatch: pytest.MonkeyPatch
) -> None:
    checkout = reader().checkout
    shutil.rmtree(checkout / "results/store")
    shutil.rmtree(checkout / "results/work/fragments")
    monkeypatch.setenv("PATH", f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("PYTHONPATH", str(NO_CLOUDS))
    notebook = nbformat.read(checkout / PAGE, as_version=4)
    place = {"metadata": {"path": str((checkout / PAGE).parent)}}
    # The cell after the training fails where the model has not learned.
    NotebookClient(notebook, timeout=300, kernel_name="python3", resources=place).execute()
    assert (checkout / "results/store/manifest.json").exists()
    pictures = [
        output
        for cell in notebook.cells
        for output in cell.get("outputs", ())
        if "image/png" in output.get("data", {})
    ]
    assert len(pictures) == 2
    assert printed(notebook) == printed(nbformat.read(REPOSITORY / PAGE, as_version=4)), (
        "python docs/run_notebook.py runs it, and keeps what it prints"
    )
