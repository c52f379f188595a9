"""The published study's CSV files, read into the lab's frame, and what is odd in them.

`metrics_results.csv` is wide: one row a (model, prompt, seed), one group of columns a technique (`lsr_nag`, `pres_nag`
…). `clip_raw_scores.csv` and `ssim_raw_scores.csv` are long. Their "no negative" baseline ran NAG against the empty
prompt, so "untreated" here means what those files call it.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

TECHNIQUES = {"original": "CFG negative", "dd": "hand-off", "nag": "NAG", "nag_timed": "NAG Time"}
ROLES = {"CFG negative": "cfg", "hand-off": "handoff", "NAG": "nag", "NAG Time": "nag-time"}
COMPARISONS = {
    "original_with_neg_vs_baseline": "CFG negative",
    "dd_with_neg_vs_baseline": "hand-off",
    "nag_with_neg_vs_baseline": "NAG",
    "nag_timed_with_neg_vs_baseline": "NAG Time",
}
VARIANTS = {  # variant -> (technique, the variant it is compared with)
    "original_with_neg": ("CFG negative", "original_baseline"),
    "dd_with_neg": ("hand-off", "dd_baseline"),
    "nag": ("NAG", "nag_baseline"),
    "nag_timed": ("NAG Time", "nag_baseline"),
}
KEYS = ["model", "pair", "seed"]
_NAMES = {"model_type": "model", "prompt_idx": "pair"}


class FormatError(ValueError):
    """A file that is none of the known ones, in words for the reader."""


def read(paths: list[Path]) -> tuple[pd.DataFrame, list[str]]:
    """(frame, oddities). frame: model, pair, seed, arm, role, target, and of lsr, ssim and clipscore what the files
    have; files of the same rows are joined. Raises FormatError."""
    frames, odd = [], []
    for path in paths:
        table = _table(path)
        odd += [f"{path.name}: {text}" for text in oddities(table)]
        frame = _frame(table)
        if frame is not None:
            frames.append(frame)
    if not frames:
        return pd.DataFrame(columns=[*KEYS, "arm"]), odd
    joined = frames[0]
    for frame in frames[1:]:
        new = [*KEYS, "arm", *(name for name in frame if name not in joined)]
        joined = joined.merge(frame[new], on=[*KEYS, "arm"], how="outer")
    targets = (
        joined.dropna(subset=["target"]).drop_duplicates("pair").set_index("pair")["target"]
        if "target" in joined
        else {}
    )
    joined["target"] = joined["pair"].map(targets).fillna(joined["pair"].astype(str))
    joined["role"] = joined["family"] = joined["arm"]
    return joined.assign(role=joined["arm"].map(ROLES).fillna("")), odd


def _table(path: Path) -> pd.DataFrame:
    try:
        table = pd.read_csv(path)
    except FileNotFoundError:
        raise FormatError(f"{path}: there is no such file") from None
    except (OSError, UnicodeDecodeError, pd.errors.ParserError, pd.errors.EmptyDataError) as error:
        raise FormatError(f"{path}: cannot be read as CSV: {error}") from None
    lacking = [name for name in ("model_type",) if name not in table]
    if lacking:
        raise FormatError(f"{path}: has no column {lacking[0]!r}; columns: {', '.join(map(str, table.columns[:12]))}")
    return table


def _frame(table: pd.DataFrame) -> pd.DataFrame | None:
    """The lab's rows; None for a file of nothing that can be compared pair by pair."""
    if "arm" in table and "cell" in table:  # this lab's own
        names = {"model_type": "model", "positive": "prompt"}
        return table.drop(columns="prompt_idx", errors="ignore").rename(columns=names)
    if any(f"lsr_{key}" in table for key in TECHNIQUES):
        return _wide(table)
    if "variant" in table and "clip_negative" in table:
        return _clip(table)
    if "ssim_score" in table and "comparison" in table:
        rows = table.rename(columns={**_NAMES, "ssim_score": "ssim"})
        return rows.assign(arm=rows["comparison"].map(COMPARISONS)).dropna(subset=["arm"])[[*KEYS, "arm", "ssim"]]
    return None


def _wide(table: pd.DataFrame) -> pd.DataFrame:
    rows = table.rename(columns=_NAMES)
    parts = []
    for key, arm in TECHNIQUES.items():
        if f"lsr_{key}" in rows and rows[f"lsr_{key}"].notna().any():
            part = rows[KEYS].assign(arm=arm, lsr=rows[f"lsr_{key}"], ssim=rows.get(f"pres_{key}"))
            parts.append(part.assign(target=rows.get("negative"), prompt=rows.get("positive")))
    return pd.concat(parts, ignore_index=True).dropna(subset=["lsr", "ssim"], how="all")


def _clip(table: pd.DataFrame) -> pd.DataFrame:
    """LSR from the raw similarities: ln(negative / positive), less that of the technique's own baseline."""
    rows = table.rename(columns={**_NAMES, "negative_prompt": "target", "positive_prompt": "prompt"})
    rows = rows.assign(ratio=np.log(rows["clip_negative"] / rows["clip_positive"]))
    parts = []
    for variant, (arm, baseline) in VARIANTS.items():
        mine, plain = (rows[rows["variant"] == name] for name in (variant, baseline))
        both = mine.merge(plain[[*KEYS, "ratio"]], on=KEYS, suffixes=("", "_off"))
        parts.append(
            both.assign(arm=arm, lsr=both["ratio"] - both["ratio_off"])[[*KEYS, "arm", "lsr", "target", "prompt"]]
        )
    return pd.concat(parts, ignore_index=True)


def oddities(table: pd.DataFrame) -> list[str]:
    """Columns whose numbers cannot be what their names say."""
    found = []
    numbers = [n for n in table.select_dtypes("number") if n not in ("prompt_idx", "seed", "scale", "steps", "cfg")]
    for name in numbers:
        values = table[name].dropna()
        if len(values) > 1 and (values == 0).all():
            found.append(f"{name} is 0 in all {len(values)} rows: not measured, or lost")
        elif name.startswith("kid") and len(values) > 1:
            by = [key for key in ("model_type", "comparison") if key in table]
            repeated = table.loc[values.index].groupby(by)[name].agg(["nunique", "size"])
            if ((repeated["nunique"] == 1) & (repeated["size"] > 1)).all():
                found.append(
                    f"{name} is one number repeated on every row of a set: {len(repeated)} numbers, not {len(values)}"
                )
    if "fid_score" in table and "image1_path" in table:
        found.append("fid_score stands for pairs of pictures: a Fréchet distance is defined for sets")
    for name in numbers:
        share = table[name].isna().mean()
        if 0 < share < 1 and not name.endswith("_dd"):
            found.append(f"{name} is empty in {100 * share:.0f} % of the rows")
    return found
