"""The report's tables: every arm, every comparison, the sets, the cost."""

from __future__ import annotations

from collections.abc import Iterator

import pandas as pd

from ..metrics.cost import WARM_UP, cost
from ..metrics.extractors import GRID, describe
from . import page, plots, wording
from .page import esc
from .results import SCALES, UNTREATED, Results

IN_TABLE = (
    "deleted", "clean", "subject_kept", "ssim_background", "ssim", "ms_ssim", "lpips_background", "lpips",
    "clipscore", "lsr",
)  # fmt: skip


def arms(frame: pd.DataFrame) -> Iterator[str]:
    yield '<h2 id="arms">All arms</h2>'
    names = [name for name in IN_TABLE if name in frame and frame[name].notna().any()]
    head = ["arm", "guided", "pictures", *(esc(SCALES[name].label) for name in names)]
    for model, rows in frame.groupby("model", sort=False):
        lines = []
        for arm, mine in rows.groupby("arm", sort=False):
            if arm == UNTREATED:
                continue
            line = [esc(arm), esc(mine["guided"].iloc[0] or "–"), str(len(mine))]
            for name in names:
                found = plots.of_arm(mine, name, SCALES[name])
                line.append("–" if found is None else _in_two(wording.interval(found, name)))
            lines.append(line)
        yield page.table(head, lines, f"{esc(model)}: means with 95 % intervals over targets; rates are of "
                         "the pictures whose untreated picture has the target.")  # fmt: skip
    plain = frame[frame["arm"] == UNTREATED]
    if "present" in plain and plain["present"].notna().any():
        shares = ", ".join(f"{esc(m)} {100 * v:.1f} %" for m, v in plain.groupby("model")["present"].mean().items())
        yield f"<p>The target is in the untreated pictures: {shares}. Elsewhere there is nothing to delete.</p>"


def comparisons(results: Results) -> Iterator[str]:
    yield '<h2 id="details">Comparisons</h2>'
    head = ["", "model", "treated", "control", "outcome", "treated", "control", "difference", "p, Holm"]
    more = ["", "model", "treated", "each prompt a cluster", "preservation", "g", "better / worse", "detectable",
            "would settle"]  # fmt: skip
    lines, others = [], []
    for a in results.answers:
        metric = a.question.outcome
        rates = [wording.number(e.value, metric) if e else "–" for e in (a.treated, a.controlled)]
        kept = wording.interval(a.preservation, a.question.preservation, True) if a.preservation else "–"
        plain = wording.interval(a.by_prompt, metric, True) if a.by_prompt else "–"
        shares = f"{100 * a.better:.0f} / {100 * a.worse:.0f} %" if a.better == a.better else "–"
        settle = f"{a.needed} targets" if a.needed else "–"
        lines.append([esc(v) for v in (
            a.question.id, a.model, a.treatment, a.control, SCALES[metric].label, *rates,
            wording.interval(a.difference, metric, True), wording.p_value(a.adjusted),
        )])  # fmt: skip
        others.append([esc(v) for v in (
            a.question.id, a.model, a.treatment, plain, kept, wording.number(a.effect, "g"), shares,
            wording.number(a.detectable, metric), settle,
        )])  # fmt: skip
    yield page.table(head, lines, "Treated less control, on the same prompts and seeds.", text=(2, 3, 4))
    yield page.table(more, others, "g: Hedges' g over targets. Better / worse: shares of the pairs of pictures, ties "
                     "left out. Detectable: the smallest true difference these targets show with 80 % power. Would "
                     "settle: targets needed for 80 % power if the truth is what was found.", text=(2,))  # fmt: skip


def sets_part(results: Results) -> Iterator[str]:
    if not len(results.sets):
        return
    yield '<h2 id="sets">Sets</h2>'
    extractor = str((results.plan.get("measure") or {}).get("extractor") or GRID)
    said = "FID and KID: distance of an arm's set from the untreated set of the same prompts and seeds."
    yield f'<p class="soft">Features: {esc(describe(extractor))}. {said}</p>'
    wide = results.sets.pivot_table(index=["model", "arm"], columns="name", values="value", sort=False, dropna=False)
    names = [name for name in ("fid", "kid", "diversity") if name in wide]
    sizes = results.sets.groupby(["model", "arm"], sort=False)["n"].max()
    lines = [
        [esc(key[0]), esc(key[1]), str(int(sizes[key])), *(esc(f"{v:.4g}" if v == v else "–") for v in row[names])]
        for key, row in wide.iterrows()
        if key in sizes.index  # a pivot that keeps empty cells makes arms up, of models that have none
    ]
    yield page.table(["model", "arm", "pictures", *(esc(SCALES[n].label) for n in names)], lines, text=(1,))


def cost_part(frame: pd.DataFrame) -> Iterator[str]:
    yield '<h2 id="cost">Cost</h2>'
    found = cost(frame)
    lines = []
    for row in found.itertuples():
        times = [f"{v:.3f}" if v == v else "–" for v in (row.median_s, row.low_s, row.high_s)]
        over = f"{row.over_untreated:.2f}×" if row.over_untreated == row.over_untreated else "–"
        memory = f"{row.memory_mb:.0f}" if row.memory_mb == row.memory_mb else "–"
        lines.append(
            [esc(row.model), esc(row.arm), str(row.n), f"{times[0]}", f"{times[1]} … {times[2]}", over, memory]
        )
    yield page.table(
        ["model", "arm", "timed", "median s", "middle 90 %", "of untreated", "peak MB"], lines,
        "Seconds a picture, as the engine timed them on the machine as it was: on a busy one, read the ratio. "
        f"The warm-up, the first {WARM_UP} of each arm, does not count. Peak memory: – where the engine tells none.",
        text=(1,),
    )  # fmt: skip


def _in_two(text: str) -> str:
    """A value, its interval below it."""
    value, bracket, rest = text.partition(" [")
    return f'{esc(value)}<br><span class="soft">[{esc(rest)}</span>' if bracket else esc(value)
