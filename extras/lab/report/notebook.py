"""A short notebook that loads the CSVs of a run."""

from __future__ import annotations

import json
from pathlib import Path

from .results import Results


def write(results: Results, path: Path, csvs: str) -> Path:
    """Jupyter notebook format 4.5; needs pandas and matplotlib."""
    adherence, preservation = results.adherence, results.preservation
    cells = [
        _text(f"# {results.title}\n\nThe numbers behind `report.html`. Run it in the folder of the run."),
        _code(
            f'from pathlib import Path\n\nimport pandas as pd\n\nfolder = Path("{csvs}")\n\n\n'
            "def table(name):  # packed or not\n"
            '    path = folder / f"{name}.csv"\n'
            '    return pd.read_csv(path if path.exists() else f"{path}.gz")\n\n\n'
            'rows = table("metrics_results")\nrows.head()'
        ),
        _text("Every comparison of the plan: difference, 95 % interval over targets, Holm's p value."),
        _code(
            'comparisons = table("comparisons")\n'
            'comparisons[["id", "model_type", "treated", "control", "outcome",\n'
            '             "difference", "low", "high", "p_holm", "held"]]'
        ),
        _text("Means by arm. An empty value is absent, not 0."),
        _code(
            f'means = rows[rows.arm != "untreated"].groupby(["model_type", "arm"], sort=False)'
            f'[["{adherence}", "{preservation}"]].mean()\nmeans'
        ),
        _text("The trade-off."),
        _code(
            "import matplotlib.pyplot as plt\n\n"
            "figure, panel = plt.subplots()\n"
            'treated = rows[rows.arm != "untreated"]\n'
            'for (model, family), group in treated.groupby(["model_type", "family"], sort=False):\n'
            f'    points = group.groupby("arm", sort=False)[["{preservation}", "{adherence}"]].mean()\n'
            f'    panel.plot(points["{preservation}"], points["{adherence}"], "o-", label=f"{{model}}: {{family}}")\n'
            f'panel.set_xlabel("{preservation}")\npanel.set_ylabel("{adherence}")\npanel.legend(fontsize=7);'
        ),
        _text("Sets, and cost."),
        _code('table("kid_scores")'),
        _code('table("cost")'),
    ]
    kernel = {"kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"}}
    for number, cell in enumerate(cells):
        cell["id"] = f"cell-{number}"
    book = {"cells": cells, "metadata": kernel, "nbformat": 4, "nbformat_minor": 5}
    path.write_text(json.dumps(book, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    return path


def _text(source: str) -> dict[str, object]:
    return {"cell_type": "markdown", "metadata": {}, "source": source}


def _code(source: str) -> dict[str, object]:
    return {"cell_type": "code", "metadata": {}, "source": source, "outputs": [], "execution_count": None}
