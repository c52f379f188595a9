"""Deterministic sampling of the doodle models in plain torch: for distillation and measurement (the Studio uses
k-diffusion)."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch

from . import arch

STUDENT_TIMES = (999, 749, 499, 249)
"""The student's grid: what the 'SGM Uniform' scheduler gives for four steps."""


def alpha_sigma(t: int) -> tuple[float, float]:
    """Signal and noise amplitude at an integer timestep; below 0: the clean picture."""
    if t < 0:
        return 1.0, 0.0
    power = float(arch.alphas_cumprod()[t])
    return power**0.5, (1 - power) ** 0.5


def to_x0_eps(v: torch.Tensor, x: torch.Tensor, t: int) -> tuple[torch.Tensor, torch.Tensor]:
    """v-prediction to (x0, eps)."""
    alpha, sigma = alpha_sigma(t)
    return alpha * x - sigma * v, sigma * x + alpha * v


def grid(steps: int) -> list[int]:
    """`steps` timesteps from 999 down, trailing spacing (25 steps: 999, 959 …)."""
    return [round(999 - i * 1000 / steps) if i else 999 for i in range(steps)]


@torch.no_grad()
def ddim(
    unet: torch.nn.Module,
    x: torch.Tensor,
    cond: torch.Tensor,
    times: Sequence[int],
    cfg: float = 1.0,
    uncond: torch.Tensor | None = None,
    before: Callable[[int, int, int], float | None] | None = None,
    keep: Sequence[int] = (),
    end: int = -1,
) -> torch.Tensor | tuple[torch.Tensor, dict[int, torch.Tensor]]:
    """DDIM from unit noise x (n, 4, 16, 16) over `times`, then to `end` (−1: clean). Rows of a call: conds, then
    unconds.

    before(index, timestep, rows): called before each model call; may return this step's CFG scale.
    keep: timesteps at which the state is also returned.
    """
    kept: dict[int, torch.Tensor] = {}
    guided = uncond is not None and cfg != 1.0
    for index, t in enumerate(times):
        if t in keep:
            kept[t] = x.clone()
        both = torch.cat([x, x]) if guided else x
        context = torch.cat([cond, uncond]) if guided else cond
        wanted = before(index, t, len(both)) if before else None
        v = unet(both, torch.full((len(both),), t), context).sample.float()
        if guided:
            v_cond, v_uncond = v.chunk(2)
            v = v_uncond + (cfg if wanted is None else wanted) * (v_cond - v_uncond)
        x0, eps = to_x0_eps(v, x, t)
        alpha, sigma = alpha_sigma(times[index + 1] if index + 1 < len(times) else end)
        x = alpha * x0 + sigma * eps
    return (x, kept) if keep else x
