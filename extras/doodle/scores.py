"""Pictures beside their untreated twins: what one picture shows, and the counts of many."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from extras.nag.report import Report, combine

from . import detect
from .pairs import Pair


@dataclass
class Score:
    """Counts of one arm on one pair. ssim: outside the object, to the untreated picture; one value a treated
    picture. records: what measured() says of every picture."""

    n: int = 0
    had: int = 0
    deleted: int = 0
    kept: int = 0
    clean: int = 0
    ssim: list[float] = field(default_factory=list)
    calls: int = 0
    guided_steps: list[int] = field(default_factory=list)
    seconds: float = 0.0
    methods: dict[str, Report] = field(default_factory=dict)
    records: list[dict[str, Any]] = field(default_factory=list)

    def add(self, other: Score) -> None:
        """Take another score's counts in."""
        for name in ("n", "had", "deleted", "kept", "clean", "ssim", "calls", "seconds", "records"):
            setattr(self, name, getattr(self, name) + getattr(other, name))
        self.guided_steps = self.guided_steps or other.guided_steps
        self.took(other.methods)

    def took(self, methods: dict[str, Report]) -> None:
        """Add the reports of a run, or of several."""
        for name, report in methods.items():
            self.methods[name] = combine([self.methods[name], report] if name in self.methods else [report])

    def table(self) -> dict[str, Any]:
        """JSON-ready rates (of the pictures that had the object)."""
        of = max(1, self.had)
        return {
            "n": self.n,
            "present_untreated": self.had / max(1, self.n),
            "deletion_rate": self.deleted / of,
            "subject_kept": self.kept / of,
            "clean": self.clean / of,
            "ssim_outside_object": float(np.mean(self.ssim)) if self.ssim else None,
            "guided_steps": self.guided_steps,
            "guided_calls_per_image": self.calls / max(1, self.n),
            "seconds_per_image": self.seconds / max(1, self.n),
            "methods": {
                name: {
                    "guided_steps": report.guided_steps,
                    "layers": report.layers,
                    "calls": report.calls,
                    "mean_change": report.mean_change,
                    "warnings": report.warnings,
                    "error": report.error,
                }
                for name, report in self.methods.items()
            },
        }


def measured(treated: np.ndarray, twin: np.ndarray, pair: Pair) -> dict[str, Any]:
    """One picture against its untreated twin. had: the twin has object and subject. change: mean |difference|, 0 to 1.
    edges: mean brightness step between neighbours, over the twin's. ssim: of the whole picture; background: outside
    the object."""
    from skimage.metrics import structural_similarity

    full = structural_similarity(treated, twin, channel_axis=2, full=True)[1].mean(-1)
    outside = ~detect.region(twin, pair.object)
    return {
        "pair": pair.object,
        "had": detect.has(twin, pair.object) and detect.subject_kept(twin, pair.word),
        "object": detect.has(treated, pair.object),
        "subject": detect.subject_kept(treated, pair.word),
        "ssim": float(full.mean()),
        "background": float(full[outside].mean()) if outside.any() else float(full.mean()),
        "change": float(np.abs(treated.astype(float) - twin).mean() / 255),
        "edges": edges(treated) / max(1e-9, edges(twin)),
    }


def edges(picture: np.ndarray) -> float:
    """Mean absolute step of brightness between neighbouring pixels: how much is drawn, and how sharply."""
    grey = picture.astype(float).mean(-1)
    return float(np.abs(np.diff(grey, axis=0)).mean() + np.abs(np.diff(grey, axis=1)).mean())


def score(pictures: np.ndarray, untreated: np.ndarray, pair: Pair) -> Score:
    """Count one arm's pictures against their untreated twins."""
    result = Score(n=len(pictures))
    for treated, twin in zip(pictures, untreated, strict=True):
        record = measured(treated, twin, pair)
        result.records.append(record)
        if not record["had"]:
            continue
        gone, kept = not record["object"], record["subject"]
        result.had += 1
        result.deleted += gone
        result.kept += kept
        result.clean += gone and kept
        result.ssim.append(record["background"])
    return result
