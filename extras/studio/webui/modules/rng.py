"""Noise: one generator per image, so a batch of n is n single images."""

from __future__ import annotations

import torch

from modules import devices, shared


def create_generator(seed: int) -> torch.Generator:
    """A generator on the CPU (or on the device with the setting "GPU") seeded with ``seed``."""
    on = devices.cpu if shared.opts.randn_source == "CPU" else devices.device
    return torch.Generator(on).manual_seed(int(seed))


def _draw(shape, generator: torch.Generator) -> torch.Tensor:
    return torch.randn(tuple(shape), device=generator.device, generator=generator).to(devices.device)


def randn(seed: int, shape, generator: torch.Generator | None = None) -> torch.Tensor:
    """Noise of ``seed``. Also seeds torch's global generator, which extensions rely on."""
    torch.manual_seed(int(seed))
    return _draw(shape, generator if generator is not None else create_generator(seed))


def randn_local(seed: int, shape) -> torch.Tensor:
    """Noise of ``seed`` that leaves the global generator alone."""
    return _draw(shape, create_generator(seed))


def randn_without_seed(shape, generator: torch.Generator | None = None) -> torch.Tensor:
    if generator is None:
        return torch.randn(tuple(shape), device=devices.device)
    return _draw(shape, generator)


def manual_seed(seed: int) -> None:
    torch.manual_seed(int(seed))


def slerp(val: float, low: torch.Tensor, high: torch.Tensor) -> torch.Tensor:
    """Spherical interpolation along dimension 1; nearly parallel inputs are interpolated linearly.

    ``low`` and ``high`` are (C, H, W); the norms are taken over H, as A1111's variation seeds are.
    """
    low_unit = low / torch.norm(low, dim=1, keepdim=True)
    high_unit = high / torch.norm(high, dim=1, keepdim=True)
    cosine = (low_unit * high_unit).sum(1)
    if cosine.mean() > 0.9995:
        return low * val + high * (1 - val)
    angle = torch.acos(cosine)
    sine = torch.sin(angle)
    return (torch.sin((1.0 - val) * angle) / sine).unsqueeze(1) * low + (torch.sin(val * angle) / sine).unsqueeze(
        1
    ) * high


class ImageRNG:
    """Draws (B, *shape) noise, row i from image i's own generator.

    The first draw mixes in the variation seed and honours "resize seed from"; later ones do not.
    """

    def __init__(self, shape, seeds, subseeds=None, subseed_strength=0.0, seed_resize_from_h=0, seed_resize_from_w=0):
        self.shape = tuple(int(n) for n in shape)
        self.seeds, self.subseeds, self.subseed_strength = seeds, subseeds, subseed_strength
        self.seed_resize_from_h, self.seed_resize_from_w = seed_resize_from_h, seed_resize_from_w
        self.generators = [create_generator(seed) for seed in seeds]
        self.is_first = True

    def _first_of(self, i: int) -> torch.Tensor:
        seed, generator = self.seeds[i], self.generators[i]
        h, w = int(self.seed_resize_from_h), int(self.seed_resize_from_w)
        resized = h > 0 and w > 0 and (h // 8, w // 8) != self.shape[1:]
        shape = (self.shape[0], h // 8, w // 8) if resized else self.shape
        noise = randn(seed, shape) if resized else randn(seed, shape, generator)
        if self.subseeds is not None and self.subseed_strength != 0:
            subseed = self.subseeds[i] if i < len(self.subseeds) else 0
            noise = slerp(self.subseed_strength, noise, randn(subseed, shape))
        return self._centred(noise, randn(seed, self.shape, generator)) if resized else noise

    @staticmethod
    def _centred(small: torch.Tensor, canvas: torch.Tensor) -> torch.Tensor:
        """``small`` pasted into (or cropped to) the middle of ``canvas``; both (C, H, W)."""
        for_axis = []
        for axis in (1, 2):
            off = (canvas.shape[axis] - small.shape[axis]) // 2
            n = small.shape[axis] if off >= 0 else small.shape[axis] + 2 * off
            for_axis.append((slice(max(off, 0), max(off, 0) + n), slice(max(-off, 0), max(-off, 0) + n)))
        (cy, sy), (cx, sx) = for_axis
        canvas[:, cy, cx] = small[:, sy, sx]
        return canvas

    def first(self) -> torch.Tensor:
        noise = torch.stack([self._first_of(i) for i in range(len(self.seeds))])
        delta = shared.opts.eta_noise_seed_delta or 0
        if delta:
            self.generators = [create_generator(seed + delta) for seed in self.seeds]
        return noise

    def next(self) -> torch.Tensor:
        """The next (B, C, H, W) standard normal noise."""
        if self.is_first:
            self.is_first = False
            return self.first()
        return torch.stack([randn_without_seed(self.shape, g) for g in self.generators])
