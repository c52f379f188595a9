"""What the tests of a run share: random inputs, and one guided forward."""

import nag_tiny
import torch

from extras.nag import Run, Settings
from extras.nag.taps import count_taps

TIMES = (999, 749, 499, 249)


def text(*tokens, seed=5):
    """One random context per entry; (n, tokens, channels) if all are as long."""
    generator = torch.Generator().manual_seed(seed)
    contexts = [torch.randn(n, nag_tiny.CONTEXT, generator=generator) for n in tokens]
    return torch.stack(contexts) if len(set(tokens)) == 1 else contexts


def latents(batch, seed=6):
    return torch.randn(batch, 4, 16, 16, generator=torch.Generator().manual_seed(seed))


def guided(unet, x, context, negatives, rows, settings=None, t=749, **step):
    """Output of one guided forward, and the report; checks that nothing is left."""
    with Run(settings or Settings(scale=5), unet.model, strict=True) as run:
        run.begin(TIMES)
        run.set_negative(negatives)
        run.step_at(t) if not step else run.step(**step)
        run.call(rows)
        out = unet(x, t, context)
    assert count_taps(unet.model) == 0
    return out, run.report


def each(n, first=0):
    return [(first + i, i) for i in range(n)]
