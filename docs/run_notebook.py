"""Runs the tutorial's notebook in the folder where it lies, and keeps its outputs in it.

python docs/run_notebook.py, after a change of the notebook or of what it shows.
"""

from __future__ import annotations

from pathlib import Path

import nbformat
from nbclient import NotebookClient

NOTEBOOK = Path(__file__).resolve().parent / "tutorials/first-store.ipynb"


def run_notebook(path: Path) -> nbformat.NotebookNode:
    """Return a notebook with the outputs of a run; an error in a cell is raised."""
    notebook = nbformat.read(path, as_version=4)
    place = {"metadata": {"path": str(path.parent)}}
    NotebookClient(notebook, timeout=300, kernel_name="python3", resources=place).execute()
    return notebook


def without_times(notebook: nbformat.NotebookNode) -> nbformat.NotebookNode:
    """Return a notebook without what differs from run to run but for its outputs."""
    for cell in notebook.cells:
        cell.metadata = {}
    return notebook


if __name__ == "__main__":
    nbformat.write(without_times(run_notebook(NOTEBOOK)), NOTEBOOK)
