"""The record as a table for the terminal, and as docs/PERFORMANCE.md."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from .arms import ALONE, BASE, DUPLICATE, FILLED, FUSED, NAG, OFF, OUTSIDE

Record = dict[str, Any]
MB = 1 << 20


def title(model: Record) -> str:
    """One line."""
    blocks = f", {model['blocks'][0]} + {model['blocks'][1]} blocks" if model["blocks"] else ""
    return (
        f"{model['model']}, {model['parameters'] / 1e6:,.0f} million parameters{blocks}, {model['dtype']}, "
        f"{model['resolution']} x {model['resolution']}, batch {model['batch']}, {model['tokens']} tokens"
    )


def best(arm: Record) -> Record:
    """The spread to judge by: that of the layers where they were metered."""
    spread: Record = arm.get("by_layers") or arm["ratio"]
    return spread


def table(model: Record) -> list[list[str]]:
    """Rows of text; the first is the head."""
    gpu = "launches" in model["arms"][BASE]
    head = ["step", "ratio", "quartiles", "95 %", "by layers", "seconds", "change", "operators", "attentions", "waits"]
    rows = [head + (["launches", "synchronisations"] if gpu else [])]
    for name, arm in model["arms"].items():
        ratio = arm["ratio"]
        row = [
            name,
            f"{ratio['median']:.4f}",
            f"{ratio['low_quartile']:.3f}–{ratio['high_quartile']:.3f}",
            f"{ratio['low']:.3f}–{ratio['high']:.3f}",
            _by_layers(arm),
            f"{arm['seconds']:.3g}",
            "none" if arm["identical"] else f"{arm['change']:.1%}",
            *("–" if arm[name] is None else str(arm[name]) for name in ("operators", "attentions", "waits")),
        ]
        rows.append(row + ([str(arm["launches"]), str(arm["synchronisations"])] if gpu else []))
    return rows


def _by_layers(arm: Record) -> str:
    if "by_layers" not in arm:
        return "–"
    spread = arm["by_layers"]
    return f"{spread['median']:.4f} ({spread['low']:.3f}–{spread['high']:.3f})"


def plain(rows: Sequence[Sequence[str]]) -> str:
    """For a terminal."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = []
    for row in rows:
        cells = [
            cell.ljust(w) if i == 0 else cell.rjust(w) for i, (cell, w) in enumerate(zip(row, widths, strict=True))
        ]
        lines.append("  ".join(cells).rstrip())
    return "\n".join(lines)


def markdown(rows: Sequence[Sequence[str]]) -> str:
    head, *body = rows
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    return "\n".join(lines + ["| " + " | ".join(row) + " |" for row in body])


def number(target: Record, key: str) -> str:
    """Bytes as MB, counts as they are, times in percent."""
    value = target[key]
    if target["what"].endswith("bytes"):
        return f"{value / MB:,.1f} MB"
    if isinstance(target["wanted"], int):
        return f"{value:g}"
    return f"{value:.2%}"


VERDICTS = {True: "met", False: "**missed**", None: "unclear"}


def verdicts(model: Record) -> list[list[str]]:
    """The targets as rows."""
    rows = [["aim", "at most", "found", ""]]
    for target in model["targets"]:
        what = target["what"].removesuffix(", bytes")
        rows.append([what, number(target, "wanted"), number(target, "found"), VERDICTS[target["met"]]])
    return rows


def terminal(result: Record) -> str:
    """Everything, for people."""
    parts = []
    for model in result["models"]:
        aims = plain(verdicts(model)).replace("**", "")
        parts.append(f"{title(model)}: {model['rounds']} rounds\n{plain(table(model))}\n\n{aims}")
    parts += [f"not measured: {text}" for text in result["skipped"]]
    return "\n\n".join(parts)


def page(result: Record, plot: str) -> str:
    """docs/PERFORMANCE.md. ``plot``: path of the picture from there."""
    lines = [
        "# What guidance costs",
        "",
        "Written by `python nagtime.py bench --docs`; the raw numbers: [bench.json](performance/bench.json).",
        "",
        *METHOD,
        "",
        f"![Ratios to the plain step, and how the cost of NAG grows]({plot})",
        "",
        "The steps:",
        "",
        *[f"- **{name}**: {what}" for name, what in _explained(result).items()],
    ]
    for model in result["models"]:
        lines += [
            "",
            f"## {title(model)}",
            "",
            f"`{model['command']}`, {model['date']}, {model['rounds']} rounds",
            "",
            _machine(model["machine"], [load for load in model["load"] if load is not None]),
            "",
            markdown(table(model)),
            "",
            markdown(verdicts(model)),
            "",
            *_text(model),
        ]
    if result["curves"]:
        lines += [
            "",
            "## How the cost grows",
            "",
            f"{result['curves_of']}; ratio of the guided step to the plain one. `{result['curves_command']}`",
            "",
            _machine(result["curves_machine"], []),
            "",
        ]
        for name, points in result["curves"].items():
            values = ", ".join(f"{p['at']:g}: {p['ratio']:.3f} ({p['low']:.3f}–{p['high']:.3f})" for p in points)
            lines.append(f"- **{name}**: {values}")
    lines += ["", "## Not measured", "", *[f"- {text}" for text in result["skipped"]]]
    return "\n".join(lines) + "\n"


def _machine(about: Record, loads: Sequence[float]) -> str:
    load = f" Load before and after: {min(loads):g} to {max(loads):g}." if loads else ""
    return (
        f"Machine: {about['processor']}, {about['cores']} cores, {about['threads']} threads; device {about['device']}; "
        f"torch {about['torch']}.{load}"
    )


METHOD = (
    "Models of the published sizes with random weights: what a step costs does not depend on them. All ways take",
    "turns in one run, in rotated order; a **ratio** is that of a step to the plain step *of the same round*,",
    "given as the median over the rounds, with quartiles and a 95 % bootstrap interval. On a CPU, times are",
    "processor times, so that other programs do not count; the clock's are in the JSON. **By layers** is the same",
    "ratio from the time inside the attention layers that the method acts in (NAG: those to the text, NAG-PAG: those",
    "of the image to itself), in units of the rest of the same step, which is the same work in all: it is much",
    "steadier, and what the aims are judged by where it is there. An aim whose 95 %",
    "interval holds its limit is *unclear*. `change` is |prediction − plain|₁ / |plain|₁. `waits` are operators",
    "whose result the CPU must read before it goes on: each would hold a GPU up.",
)


def _explained(result: Record) -> dict[str, str]:
    return {name: arm["what"] for model in result["models"] for name, arm in model["arms"].items()}


def _text(model: Record) -> list[str]:
    """Floor, measured, and where the rest goes."""
    floor, arms = model["floor"], model["arms"]
    measured = ", ".join(f"{n} {best(arms[n])['median'] - 1:.2%}" for n in (NAG, FUSED) if n in arms)
    lines = [
        f"**Floor.** The plain step is {floor['base'] / 1e12:.3g} TFLOP; guidance adds {floor['share']:.2%} to it by "
        f"count{_once(model)}. Duplicating adds {floor['duplicate_share']:.2%} by count. Measured: {measured}.",
    ]
    if ALONE in arms:
        alone, plain = (best(arms[n])["median"] - 1 for n in (ALONE, DUPLICATE))
        share = f", {alone / plain:.0%} of what `{DUPLICATE}` adds" if plain > 0 else ""
        lines[0] += f" Of that, the attention over the negative is {alone:.2%}{share}: no rule can cost less."
    if FILLED in arms:
        lines[0] += (
            f" All of ours contain what the layer's own attention gains by having the prompt filled up as the "
            f"negative is: {1 - best(arms[FILLED])['median']:.2%} of the plain step."
        )
    if "peaks" in model:
        peaks, base = model["peaks"], model["peaks"][BASE]
        lines += [
            "",
            f"**Memory.** A plain step's activations peak at {base / MB:,.0f} MB; beyond that NAG needs "
            f"{(peaks[NAG] - base) / MB:,.1f} MB (its keys and values are {model['kept']['cache'] / MB:,.1f} MB), "
            f"`{DUPLICATE}` {(peaks[DUPLICATE] - base) / MB:,.1f} MB.",
        ]
    if model.get("not_fused"):
        lines += ["", f"**{FUSED}** is not there: {model['not_fused']}."]
    if model["hot"]:
        spots = ", ".join(
            f"`{h['operator']}` {1000 * h['seconds']:.1f} ms in {h['calls']} calls" for h in model["hot"][:6]
        )
        lines += ["", f"**Where the rest goes** (profiler, the guided step less the plain one): {spots}."]
    calls = arms[NAG]["attentions"] - arms[BASE]["attentions"]
    more = {name: arms[name]["operators"] - arms[BASE]["operators"] for name in (NAG, DUPLICATE, OFF, OUTSIDE)}
    lines += [
        "",
        f"A guided step makes {more[NAG]} operator calls more than the plain one, {calls} of them attention; "
        f"`{DUPLICATE}` makes {more[DUPLICATE]}, `{OFF}` {more[OFF]}, `{OUTSIDE}` {more[OUTSIDE]}.",
    ]
    if "on_gpu" in model:
        lines += ["", _on_gpu(model["on_gpu"])]
    if "asked" in model:
        lines += ["", _asked(model["asked"])]
    return lines


def _on_gpu(found: Record) -> str:
    steps, layers = found["steps"], found["layers"]
    base = steps[BASE]["launches"]
    more = [f"`{name}` {steps[name]['launches'] - base:+d}" for name in steps if name != BASE]
    waits = sum(step["waits"] for step in steps.values())
    each = (steps[NAG]["launches"] - base) / layers
    size = f"{found['dtype']}, {found['resolution']} x {found['resolution']}"
    return (
        f"**On a GPU, counted without one** (tensors that say they lie there, {size}; times are not known): the plain "
        f"step launches {base} kernels; {', '.join(more)}. That is {each:g} for each of the {layers} layers that NAG "
        f"guides. Waits for the device in all of these steps: {waits}."
    )


def _asked(found: Record) -> str:
    steps, base = found["steps"], found["seconds"]
    ratios = ", ".join(
        f"`{name}` {step['median']:.3f} ({step['low']:.3f}–{step['high']:.3f})"
        for name, step in steps.items()
        if name != BASE
    )
    each = {n: 1e6 * (steps[n]["median"] - 1) * base / found["layers"] for n in (NAG, FUSED, DUPLICATE) if n in steps}
    more = ", ".join(f"`{name}` {microseconds:.0f}" for name, microseconds in each.items())
    return (
        "**Where a GPU waits for the CPU** (the same blocks with almost no width, one thread, the second of two "
        f"steps, {found['rounds']} rounds: what Python and torch take to ask for a step, whatever it computes; "
        f"a launch on a GPU comes on top): the plain step {1000 * base:.1f} ms; ratios to it: {ratios}. "
        f"Microseconds for each of the {found['layers']} layers that NAG guides: {more}."
    )


def _once(model: Record) -> str:
    if not model["floor"]["once"]:
        return ""
    share = model["once_seconds"] / model["arms"][BASE]["seconds"]
    return (
        f", and once per generation {model['floor']['once_share']:.2%} of a step for the negative's keys and values "
        f"({1000 * model['once_seconds']:.1f} ms, {share:.2%} of a step)"
    )
