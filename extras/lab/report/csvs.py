"""CSV files under the names of the published study, each row traceable to the pictures it came from.

Numbers of pictures stand in files of pictures, numbers of sets in files of sets; what is absent is empty, never 0.
"""

from __future__ import annotations

import os
from pathlib import Path

import pandas as pd

from ..metrics import METRICS
from ..metrics.cost import cost
from ..metrics.extractors import GRID
from ..stats.questions import Answer
from .results import UNTREATED, Results, load

IDS = ["model_type", "arm", "prompt_idx", "seed"]
ARM = ["role", "family", "method", "guided", "scale", "tau", "alpha", "start", "end", "ramp", "cooldown", "layers",
       "handoff", "handoff_cfg", "cfg", "cfg_negative", "steps"]  # fmt: skip


def write_csvs(folder: Path, out: Path) -> list[Path]:
    """The CSVs of a run's folder, into `out`."""
    return write(load(folder), out)


def write(results: Results, out: Path) -> list[Path]:
    """All of them. Returns their paths."""
    out.mkdir(parents=True, exist_ok=True)
    found = []
    for name, table in tables(results).items():
        path = out / name
        table.to_csv(path, index=False)
        found.append(path)
    return found


def tables(results: Results) -> dict[str, pd.DataFrame]:
    """File name -> table."""
    rows = _rows(results)
    ids = [*IDS, "positive", "negative"]
    measured = [name for name in METRICS if name in rows]
    clip = rows.rename(columns={"arm": "variant", "positive": "positive_prompt", "negative": "negative_prompt"})
    of = ["model_type", "variant", "prompt_idx", "seed", "positive_prompt", "negative_prompt"]
    rest = ["seconds", "memory_mb", "image", "cell", "baseline"]
    return {
        "metrics_results.csv": rows[[*ids, "pair", "target", *ARM, *measured, *rest]],
        "clipscore_results.csv": _with(rows, IDS, ["clipscore"]),
        "clip_raw_scores.csv": _with(clip, of, ["clip_positive", "clip_negative"]),
        "ssim_raw_scores.csv": _ssim(rows),
        "fid_scores.csv": _sets(results, "fid"),
        "kid_scores.csv": _sets(results, "kid"),
        "diversity_scores.csv": _sets(results, "diversity"),
        "cost.csv": cost(results.frame).rename(columns={"model": "model_type"}) if len(rows) else pd.DataFrame(),
        "comparisons.csv": pd.DataFrame([answer_row(each) for each in results.answers]),
    }  # fmt: skip


def _rows(results: Results) -> pd.DataFrame:
    numbers = {str(pair["id"]): place for place, pair in enumerate(results.plan.get("pairs") or [])}
    rows = results.frame.rename(columns={"model": "model_type", "prompt": "positive"})
    images = [os.path.relpath(path, results.folder).replace(os.sep, "/") for path in rows["image"]]
    return rows.assign(prompt_idx=rows["pair"].map(numbers), image=images)


def _with(rows: pd.DataFrame, ids: list[str], names: list[str]) -> pd.DataFrame:
    return rows.reindex(columns=[*ids, *names, "image"])


def _ssim(rows: pd.DataFrame) -> pd.DataFrame:
    plain = rows[rows["arm"] == UNTREATED].set_index("cell")["image"]
    treated = rows[rows["arm"] != UNTREATED].rename(columns={"image": "image2_path", "ssim": "ssim_score"})
    treated = treated.assign(comparison=treated["arm"] + " vs untreated", image1_path=treated["baseline"].map(plain))
    names = ["model_type", "comparison", "prompt_idx", "seed", "image1_path", "image2_path", "ssim_score"]
    return treated.reindex(columns=[*names, "ssim_background", "ms_ssim", "lpips", "lpips_background"])


def _sets(results: Results, name: str) -> pd.DataFrame:
    """One row a set: never one a pair of pictures, and nothing repeated."""
    extractor = str((results.plan.get("measure") or {}).get("extractor") or GRID)
    mine = results.sets[results.sets["name"] == name].rename(columns={"model": "model_type", "value": f"{name}_score"})
    mine = mine.assign(comparison=mine["arm"] + (" vs untreated" if name != "diversity" else ""), extractor=extractor)
    return mine.reindex(columns=["model_type", "comparison", "n", f"{name}_score", "extractor", "note", "members"])


def answer_row(answer: Answer) -> dict[str, object]:
    """One comparison, flat."""
    found, kept = answer.difference, answer.preservation
    return {
        "id": answer.question.id, "question": answer.question.text, "model_type": answer.model,
        "treated": answer.treatment, "control": answer.control, "outcome": answer.question.outcome,
        "test": answer.question.test, "margin": answer.verdict.margin, "held": answer.verdict.held,
        "treated_value": answer.treated.value if answer.treated else None,
        "control_value": answer.controlled.value if answer.controlled else None,
        "difference": found.value, "low": found.low, "high": found.high, "se": found.se, "clusters": found.clusters,
        "prompts": answer.prompts, "pairs": found.rows, "p": answer.verdict.p, "p_holm": answer.adjusted,
        "hedges_g": answer.effect, "better": answer.better, "worse": answer.worse, "detectable": answer.detectable,
        "clusters_needed": answer.needed, "preservation": answer.question.preservation,
        "preservation_difference": kept.value if kept else None, "preservation_low": kept.low if kept else None,
        "preservation_high": kept.high if kept else None, "note": found.note,
    }  # fmt: skip
