"""Metrics of the lab: what is measured on a picture and on a set of pictures.

`measure_picture` gives a number or the reason why there is none, for every name.
"""

from __future__ import annotations

from collections.abc import Iterable

from PIL import Image

from . import clipscore, presence, similarity
from .metric import Absent, Metric, Spec
from .sets import SetValue, measure_sets

RATE, COSINE = (0.0, 1.0), (-1.0, 1.0)


def _lpips(picture: Image.Image, twin: Image.Image | None, spec: Spec) -> float | Absent:
    from . import perceptual  # torch is imported only where it is needed

    return perceptual.lpips(picture, twin, spec)


def _lpips_background(picture: Image.Image, twin: Image.Image | None, spec: Spec) -> float | Absent:
    from . import perceptual

    return perceptual.lpips_background(picture, twin, spec)


_ALL = (
    Metric("present", "target present", "", RATE, "the target is in the picture", presence.present, False),
    Metric("deleted", "deletion rate", "higher", RATE, "the target is gone, of those that had it", presence.deleted),
    Metric("subject_kept", "subject kept", "higher", RATE, "the subject is there", presence.subject_kept, False),
    Metric("clean", "clean deletion rate", "higher", RATE, "target gone and subject there", presence.clean),
    Metric("clip_positive", "CLIP to prompt", "higher", COSINE, "cosine with the prompt", clipscore.positive, False),
    Metric("clip_negative", "CLIP to negative", "lower", COSINE, "cosine with the negative", clipscore.negative, False),
    Metric("clipscore", "CLIPScore", "higher", (0, 100), "100 × cosine with the prompt", clipscore.score, False),
    Metric("lsr", "LSR", "lower", None, "ln(negative / prompt), treated less untreated", clipscore.lsr),
    Metric("ssim", "SSIM", "higher", COSINE, "structure, whole picture", similarity.ssim),
    Metric("ms_ssim", "MS-SSIM", "higher", RATE, "structure on several scales", similarity.ms_ssim),
    Metric("lpips", "LPIPS", "lower", None, "perceptual distance, whole picture", _lpips),
    Metric("ssim_background", "SSIM outside the target", "higher", COSINE, "structure", similarity.ssim_background),
    Metric("lpips_background", "LPIPS outside the target", "lower", None, "perceptual distance", _lpips_background),
)
METRICS: dict[str, Metric] = {metric.name: metric for metric in _ALL}


def measure_picture(
    picture: Image.Image, untreated: Image.Image | None, spec: Spec, names: Iterable[str] | None = None
) -> dict[str, float | Absent]:
    """Name -> number, or Absent with the reason. untreated None: this is the untreated picture, or it has no twin.

    A metric that fails on a picture is absent with its error; the run goes on. KeyError for a name that is no metric.
    """
    found: dict[str, float | Absent] = {}
    for name in METRICS if names is None else names:
        metric = METRICS[name]
        try:
            found[name] = metric.per_image(picture, untreated, spec)
        except Exception as error:  # one bad picture or checkpoint must not end an experiment
            found[name] = Absent(f"failed: {type(error).__name__}: {error}"[:300])
    return found


__all__ = ["METRICS", "Absent", "Metric", "SetValue", "Spec", "measure_picture", "measure_sets"]
