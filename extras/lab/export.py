"""The results as files for other tools: CSV under the names of the published experiment, and Parquet."""

from __future__ import annotations

from pathlib import Path

from .store import Store


def export(folder: Path, out: Path) -> list[Path]:
    """Write the CSVs, and results.parquet (one row a picture, every column) and sets.parquet. Returns the files."""
    from .report.csvs import write_csvs

    out.mkdir(parents=True, exist_ok=True)
    written = [Path(path) for path in write_csvs(folder, out)]
    with Store.read(folder) as store:
        tables = {"results.parquet": store.frame(), "sets.parquet": store.sets()}
    for name, table in tables.items():
        path = out / name
        for column in table.select_dtypes(exclude=["number", "bool"]).columns:
            table[column] = table[column].astype("string")
        table.to_parquet(path, index=False)
        written.append(path)
    return written
