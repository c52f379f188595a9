"""The one training loop: AdamW, warm-up and cosine, clipped gradients, averaged weights, a state that resumes."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path

import torch

from .state import Ema, load_state, rate, save_state

Loss = Callable[[], torch.Tensor]


def clock() -> float:
    """Minutes that this process has kept its threads busy: a budget that does not shrink on a shared machine."""
    return time.process_time() / torch.get_num_threads() / 60


def fit(
    out: Path,
    model: torch.nn.Module,
    begin: Callable[[int], Loss],
    minutes: float,
    *,
    name: str,
    key: str,
    peak: float,
    average: float,
    parameters: Sequence[torch.nn.Parameter] | None = None,
    weight_decay: float = 0.01,
    say=print,
) -> torch.nn.Module:
    """Train `model` for `minutes` of `clock` in all (resumed runs add up) and return its averaged copy.

    out: the state file; it holds the model under `key`, the average under "ema", the optimizer, steps and minutes.
    begin: called once with the step that training starts or goes on from (seed your generators with it); it returns
    what draws one batch and gives its loss. average: decay of the averaged weights. parameters: those that learn
    (default: all). name: what the progress lines are called.
    """
    learning = list(model.parameters() if parameters is None else parameters)
    optimizer = torch.optim.AdamW(learning, lr=peak, betas=(0.9, 0.99), weight_decay=weight_decay)
    ema = Ema(model, average)
    step, spent = 0, 0.0
    if out.exists():
        meta = load_state(out, {key: model, "ema": ema.module}, optimizer)
        step, spent = meta["step"], meta["minutes"]
    loss_of = begin(step)
    began, mean = clock(), 0.0

    def save(now: float) -> None:
        save_state(out, {key: model, "ema": ema.module}, optimizer, {"step": step, "minutes": now})

    while (now := spent + clock() - began) < minutes:
        for group in optimizer.param_groups:
            group["lr"] = rate(now / minutes, peak)
        loss = loss_of()
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(learning, 1.0)
        optimizer.step()
        ema.update(model, step)
        step += 1
        mean = loss.item() if mean == 0 else 0.99 * mean + 0.01 * loss.item()
        if step % 50 == 0:
            say(f"{name} step {step} loss {mean:.4f} {now:.1f} min", flush=True)
        if step % 200 == 0:
            save(now)
    save(now)
    return ema.module
