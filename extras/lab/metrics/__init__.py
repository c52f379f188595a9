"""Metrics of the lab: what is measured on a picture and on a set of pictures.

`measure_picture` gives a number or the reason why there is none, for every name.
"""

from __future__ import annotations

from collections.abc import Iterable

from PIL import Image

from . import clipscore, presence, sets, similarity
from .metric import Absent, Metric, Spec, to_twin

RATE, COSINE = (0.0, 1.0), (-1.0, 1.0)


def _lpips(picture: Image.Image, twin: Image.Image | None, spec: Spec) -> float | Absent:
    from . import perceptual  # torch is imported only where it is needed

    return perceptual.lpips(picture, twin, spec)


def _lpips_background(picture: Image.Image, twin: Image.Image | None, spec: Spec) -> float | Absent:
    from . import perceptual

    return perceptual.lpips_background(picture, twin, spec)


_ALL = (
    Metric("present", "target present", "", RATE, "the target is in the picture", presence.present),
    Metric("deleted", "deletion rate", "higher", RATE, "the target is gone, of those that had it", presence.deleted),
    Metric("subject_kept", "subject kept", "higher", RATE, "the subject is there", presence.subject_kept),
    Metric("clean", "clean deletion rate", "higher", RATE, "target gone and subject there", presence.clean),
    Metric("clip_positive", "CLIP to prompt", "higher", COSINE, "cosine with the prompt", clipscore.positive),
    Metric("clip_negative", "CLIP to negative", "lower", COSINE, "cosine with the negative", clipscore.negative),
    Metric("clipscore", "CLIPScore", "higher", (0, 100), "100 × cosine with the prompt", clipscore.score),
    Metric("lsr", "LSR", "lower", None, "ln(negative / prompt), treated less untreated", to_twin(clipscore.lsr)),
    Metric("ssim", "SSIM", "higher", COSINE, "structure, whole picture", to_twin(similarity.ssim)),
    Metric("ms_ssim", "MS-SSIM", "higher", RATE, "structure on several scales", to_twin(similarity.ms_ssim)),
    Metric("lpips", "LPIPS", "lower", None, "perceptual distance, whole picture", to_twin(_lpips)),
    Metric(
        "ssim_background", "SSIM outside the target", "higher", COSINE, "structure", to_twin(similarity.ssim_background)
    ),
    Metric("lpips_background", "LPIPS outside the target", "lower", None, "distance", to_twin(_lpips_background)),
    Metric("fid", "FID", "lower", None, "Fréchet distance to the untreated set", per_set=sets.fid_to_untreated),
    Metric("kid", "KID", "lower", None, "kernel distance to the untreated set", per_set=sets.kid_to_untreated),
    Metric("diversity", "diversity", "higher", None, "distance between seeds of a prompt", per_set=sets.diversity_of),
)
METRICS: dict[str, Metric] = {metric.name: metric for metric in _ALL}


def measure_picture(
    picture: Image.Image, untreated: Image.Image | None, spec: Spec, names: Iterable[str] | None = None
) -> dict[str, float | Absent]:
    """Name -> number, or Absent with the reason, of the metrics of single pictures.

    untreated None: this is the untreated picture, or it has no twin.

    A metric that fails on a picture is absent with its error; the run goes on. KeyError for a name that is no metric.
    """
    found: dict[str, float | Absent] = {}
    for name in METRICS if names is None else names:
        measure = METRICS[name].per_image
        if measure is None:
            continue
        try:
            found[name] = measure(picture, untreated, spec)
        except Exception as error:  # one bad picture or checkpoint must not end an experiment
            found[name] = Absent(f"failed: {type(error).__name__}: {error}"[:300])
    return found


__all__ = ["METRICS", "Absent", "Metric", "Spec", "measure_picture"]
