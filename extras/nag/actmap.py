"""Where in the pictures guidance acted, and how strongly: kept only for a run that asks for it."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn.functional import interpolate

TILED = "the picture is made of tiles"
NO_GRID = "the tokens of the guided layers are no grid of the picture"
Size = tuple[int, int]  # height, width of a latent


class ActMap:
    """|out - z_pos|_1 / |z_pos|_1 of every token, averaged over the guided calls of each image of a job.

    A host says ``whole``, the size of the latent being sampled, and before each model call what is in it: expect().
    After a batch: next_batch(). ``grids``: for each finished image its map (h, w), float32 on the CPU, 0 and up, of the
    size of the latent; None where nothing was guided. ``reason``: why some are missing.
    Sums stay on the device until a batch is over: nothing waits for it while sampling.
    """

    def __init__(self) -> None:
        self.whole: Size = (0, 0)
        self.grids: list[Tensor | None] = []
        self.reason = ""
        self._image_of: dict[int, int] = {}  # row of the call -> image of the batch
        self._sums: dict[tuple[int, Size, int], tuple[Tensor, int]] = {}  # (image, latent, tokens) -> (sum, calls)

    def expect(self, rows: Sequence[tuple[int, int]], size: Size) -> None:
        """The next model call: its (row, image) pairs, and the height and width of its input."""
        tiled = size != self.whole
        self._image_of = {} if tiled else dict(rows)
        if tiled and rows:
            self.reason = TILED

    def add(self, rows: Sequence[int], out: Tensor, z_pos: Tensor) -> None:
        """One guided call of one layer: features of these rows of the call, (rows, tokens, width) each."""
        if not self._image_of:
            return
        try:
            before = z_pos.detach().float()
            changes = (out.detach().float() - before).abs().sum(-1) / before.abs().sum(-1).clamp_min(1e-30)
            for row, change in zip(rows, changes, strict=True):
                if row in self._image_of:
                    key = (self._image_of[row], self.whole, change.shape[0])
                    total, calls = self._sums.get(key, (torch.zeros_like(change), 0))
                    self._sums[key] = (total + change, calls + 1)
        except Exception as error:  # guidance itself goes on
            self._image_of, self.reason = {}, f"{type(error).__name__}: {error}"

    def next_batch(self, images: int) -> None:
        """A batch of so many images is over: make their maps."""
        sums, self._sums, self._image_of = self._sums, {}, {}
        for image in range(images):
            own = {(size, tokens): entry for (i, size, tokens), entry in sums.items() if i == image}
            self.grids.append(self._map(own))

    def _map(self, sums: dict[tuple[Size, int], tuple[Tensor, int]]) -> Tensor | None:
        """Weighted mean of the layers' grids, at the size of the largest latent (that of the last pass)."""
        largest = max((size for size, _ in sums), key=lambda s: s[0] * s[1], default=(0, 0))
        total, calls = torch.zeros(largest), 0
        for (size, tokens), (change, count) in sums.items():
            grid = grid_of(tokens, size)
            if grid is None:
                self.reason = self.reason or NO_GRID
                continue
            layer = change.cpu().nan_to_num(0.0, 0.0, 0.0).reshape(1, 1, *grid)
            total += interpolate(layer, size=largest, mode="bilinear", align_corners=False)[0, 0]
            calls += count
        return total / calls if calls else None


def grid_of(tokens: int, latent: Size) -> Size | None:
    """Height and width of a layer's tokens: the latent halved, rounding up, some times over; None if none fits."""
    h, w = latent
    while h * w > tokens and (h, w) != (1, 1):
        h, w = (h + 1) // 2, (w + 1) // 2
    return (h, w) if h * w == tokens and tokens else None
