"""The distillation as a LoRA: the nearest low-rank change, shipped, and drawing as the student does."""

import numpy as np
import torch

from extras.doodle import MODELS, lora, lora_card
from extras.doodle.evaluate import BASE, STUDENT, Arm, draw, load_models
from extras.doodle.pairs import PAIRS
from extras.studio.lora_files import read


def test_full_rank_is_the_whole_change():
    change = torch.randn(6, 4, 3, 3, generator=torch.Generator().manual_seed(1))
    down, up = lora.factors(change, 99)
    copy = torch.einsum("orab,rikl->oikl", up, down)
    torch.testing.assert_close(copy, change.double(), rtol=1e-9, atol=1e-9)
    down, up = lora.factors(change[..., 0, 0], 2)
    lost = (change[..., 0, 0] - up @ down).norm()
    assert down.shape == (2, 4) and up.shape == (6, 2)
    torch.testing.assert_close(lost, torch.linalg.svdvals(change[..., 0, 0].double())[2:].norm())


def test_the_shipped_file_makes_the_base_the_student():
    path = MODELS / "Lora" / f"{lora.NAME}.safetensors"
    assert path.stat().st_size < 6e6 and len(read(path).parts) > 100
    base, student = load_models(BASE), load_models(STUDENT)
    pair, arm = PAIRS[0], Arm("no NAG")
    want, plain = (draw(models, pair.prompt, "", [3], arm)[0] for models in (student, base))
    off = lora_card.switch_on(base, path)
    got = draw(base, pair.prompt, "", [3], arm)[0]
    off()
    again = draw(base, pair.prompt, "", [3], arm)[0]
    apart = [np.abs(one.astype(float) - want).mean() / 255 for one in (got, plain)]
    assert apart[0] < 0.03 < apart[1]
    assert np.array_equal(again, plain)
