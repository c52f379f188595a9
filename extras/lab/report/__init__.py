"""The report of a run: one HTML file that can be sent around, the CSVs behind it, and a notebook that loads them."""

from __future__ import annotations

from pathlib import Path

NAME, CSVS, NOTEBOOK = "report.html", "csv", "results.ipynb"


def write_report(folder: Path) -> Path:
    """Write report.html, csv/ and results.ipynb into a run's folder, from its store alone. Returns the page's path."""
    from . import csvs, notebook, page, write
    from .results import load

    folder = Path(folder)
    results = load(folder)
    csvs.write(results, folder / CSVS)
    notebook.write(results, folder / NOTEBOOK, CSVS)
    target = folder / NAME
    draft = target.with_suffix(".part")
    draft.write_text(page.document(results.title, write.body(results)), encoding="utf-8")
    draft.replace(target)
    return target
