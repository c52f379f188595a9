"""``<lora:name:weight>``: files, names, what acts and when it is gone."""

import hashlib
import struct

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from extras.studio import lora_files, lora_modules
from extras.studio.lora_files import LoraError, place_of

FIELDS = {
    "prompt": "a nerd", "steps": 2, "width": 64, "height": 64, "seed": 7, "cfg_scale": 1, "sampler_name": "Euler",
    "do_not_save_samples": True, "do_not_save_grid": True,
}  # fmt: skip
ATTENTION = "down_blocks.0.attentions.0.transformer_blocks.0.attn2.to_k"
CONVOLUTION = "mid_block.resnets.1.conv1"


def make(
    path, unet, names=(ATTENTION, CONVOLUTION), form="{}.lora_{}.weight", prefix="unet.", rank=2, more=None, **meta
):
    """A LoRA of random factors for these modules; form: of a tensor's name."""
    generator = torch.Generator().manual_seed(3)
    tensors = dict(more or {})
    for name in names:
        weight = unet.get_submodule(name).weight
        down = torch.randn(rank, *weight.shape[1:], generator=generator)
        up = torch.randn(weight.shape[0], rank, *([1, 1] if weight.dim() == 4 else []), generator=generator)
        tensors[prefix + form.format(name, "A")] = down
        tensors[prefix + form.format(name, "B")] = up
    path.parent.mkdir(exist_ok=True)
    save_file(tensors, str(path), metadata={"format": "pt", **meta})
    return path


@pytest.fixture
def folder(engine):
    place = engine.models_dir / "Lora"
    place.mkdir(exist_ok=True)
    yield place
    for path in place.rglob("*.safetensors"):
        path.unlink()


@pytest.fixture
def unet(engine):
    return engine.model.model.diffusion_model


@pytest.fixture
def draw(engine):
    def run(prompt="a nerd", **fields):
        processed = engine.txt2img({**FIELDS, "prompt": prompt, **fields}, is_api=True)
        return np.asarray(processed.images[0].convert("RGB")), processed

    return run


@pytest.mark.parametrize(
    ("key", "place"),
    [
        ("lora_unet_mid_block_attentions_0_proj_in.lora_down.weight", "unet mid_block_attentions_0_proj_in down"),
        ("lora_unet_input_blocks_1_1_proj_in.alpha", "unet input_blocks_1_1_proj_in alpha"),
        ("lora_te_text_model_encoder_layers_0_mlp_fc1.lora_up.weight", "te text_model_encoder_layers_0_mlp_fc1 up"),
        ("lora_te2_text_model_encoder_layers_0_mlp_fc1.lora_up.weight", "te2 text_model_encoder_layers_0_mlp_fc1 up"),
        ("unet.a.attn1.to_out.0.lora_A.weight", "unet a_attn1_to_out_0 down"),
        ("unet.a.attn1.processor.to_out_lora.up.weight", "unet a_attn1_to_out_0 up"),
        ("unet.a.attn1.to_q.lora.down.weight", "unet a_attn1_to_q down"),
        ("text_encoder.text_model.encoder.mlp.fc2.lora_B.weight", "te text_model_encoder_mlp_fc2 up"),
        ("lora_unet_mid_block.hada_w1_a", "unet mid_block.hada_w1_a"),
    ],
)
def test_names(key, place):
    (part, module), factor = place_of(key)
    assert " ".join(filter(None, (part, module, factor))) == place


def test_both_notations_and_the_added_change(engine, unet, tmp_path):
    """The doodle's layers have one module under its diffusers and its ldm name; the change is up · down."""
    from extras.doodle.export import unet_key

    known = lora_modules.places(unet, [])
    for name, module in unet.named_modules():
        if isinstance(module, (torch.nn.Linear, torch.nn.Conv2d)):
            ldm = unet_key(f"{name}.weight").removesuffix(".weight").replace(".", "_")
            assert known["unet", ldm] is module and known["unet", name.replace(".", "_")] is module
    file = lora_files.read(make(tmp_path / "x.safetensors", unet, more={f"unet.{ATTENTION}.alpha": torch.tensor(1.0)}))
    for name, x in ((ATTENTION, torch.randn(2, 5, 64)), (CONVOLUTION, None)):
        module, factors = unet.get_submodule(name), file.parts["unet", name.replace(".", "_")]
        assert factors.scale == (0.5 if name == ATTENTION else 1.0)
        x = torch.randn(1, module.in_channels, 6, 6) if x is None else x
        plain = module(x)
        away = lora_modules.attach(module, factors, lambda: 0.3)
        got = module(x)
        away()
        matrix = torch.einsum("or...,ri...->oi...", factors.up.flatten(1), factors.down.flatten(1))
        with torch.no_grad():
            module.weight += 0.3 * factors.scale * matrix.reshape(module.weight.shape)
            torch.testing.assert_close(got, module(x), rtol=1e-4, atol=1e-4)
            module.weight -= 0.3 * factors.scale * matrix.reshape(module.weight.shape)
        torch.testing.assert_close(module(x), plain, rtol=1e-4, atol=1e-4)


def test_a_tag_acts_by_its_weight_and_is_gone_afterwards(draw, folder, unet):
    make(folder / "deep" / "one.safetensors", unet)
    plain, _ = draw()
    half, told = draw("a nerd <lora:one:0.5>")
    assert np.abs(half.astype(int) - plain).max() > 3 and not np.array_equal(half, draw("a nerd <lora:one:1>")[0])
    assert np.array_equal(draw("a nerd <lora:one:0>")[0], plain)
    assert np.array_equal(draw("a nerd <lora:one:1:0>")[0], plain)  # text encoder 1, UNet 0
    assert np.array_equal(draw("a nerd <lora:one:te=0:unet=0.5>")[0], half)
    assert np.array_equal(draw()[0], plain) and not told.comments
    assert not [m for m in unet.modules() if m._forward_hooks]


def test_the_metadata_name_it_by_its_content(draw, folder, unet, engine):
    path = make(folder / "one.safetensors", unet, ss_output_name="whatever")
    raw = path.read_bytes()
    content = hashlib.sha256(raw[8 + struct.unpack("<Q", raw[:8])[0] :]).hexdigest()[:12]
    text = draw("a nerd <lora:one:0.5>")[1].infotexts[0]
    assert f'Lora hashes: "one: {content}"' in text and text.startswith("a nerd <lora:one:0.5>")
    assert engine.read_infotext(text, "txt2img")[0]["prompt"] == "a nerd <lora:one:0.5>"
    make(folder / "one.safetensors", unet, sshs_model_hash="0123456789abcdef")
    assert 'Lora hashes: "one: 0123456789ab"' in draw("a nerd <lora:one:0.5>")[1].infotexts[0]
    assert "Lora" not in draw()[1].infotexts[0]


def test_the_text_encoder_is_changed_too(draw, folder, unet, engine):
    encoder = engine.model.cond_stage_model.wrapped.transformer
    name = next(n for n, m in encoder.named_modules() if n.endswith("layers.0.mlp.fc1"))
    make(folder / "words.safetensors", encoder, names=[name], prefix="text_encoder.")
    plain, changed = draw()[0], draw("a nerd <lora:words:1>")[0]
    assert not np.array_equal(changed, plain) and np.array_equal(draw("a nerd <lora:words:te=0:unet=1>")[0], plain)
    assert np.array_equal(draw()[0], plain)  # no conditioning of the other job is used again


@pytest.mark.parametrize(
    ("tag", "told"),
    [
        ("<lora:nobody:1>", "LoRA 'nobody' was not found in"),
        ("<lora:../alpha:1>", "LoRA '../alpha' was not found in"),
        ("<lora:one:strong>", "weight 'strong' is not possible"),
        ("<lora:broken:1>", "LoRA broken.safetensors: it is truncated"),
        ("<lora:outside:1>", "LoRA 'outside' was not found in"),
        ("<lora:pickle:1>", "which can run code"),
        ("<lora:other:1>", "none of its 1 parts fits this model"),
        ("<lora:some:1>", "LoRA some: 2 of its 4 parts do not fit here"),
    ],
)
def test_what_cannot_be_is_told_and_the_picture_is_drawn(draw, folder, unet, tmp_path, tag, told):
    make(folder / "one.safetensors", unet)
    (folder / "broken.safetensors").write_bytes(b"\x00\x01")
    (folder / "pickle.safetensors").write_bytes(b"PK\x03\x04 and so on")
    (folder / "outside.safetensors").unlink(missing_ok=True)
    (folder / "outside.safetensors").symlink_to(make(tmp_path / "outside.safetensors", unet))
    make(folder / "other.safetensors", torch.nn.ModuleDict({"x": torch.nn.Linear(3, 3)}), names=["x"])
    more = {f"unet.nowhere.lora_{f}.weight": torch.ones(2, 2) for f in "AB"} | {"unet.a.hada_w1_a": torch.ones(2)}
    make(folder / "some.safetensors", unet, more=more)
    picture, processed = draw(f"a nerd {tag}")
    assert told in processed.comments
    assert np.array_equal(picture, draw()[0]) == (tag != "<lora:some:1>")


def test_the_warning_names_what_exists(draw, folder, unet):
    make(folder / "one.safetensors", unet)
    make(folder / "two.safetensors", unet)
    assert "there: one, two." in draw("a nerd <lora:three:1>")[1].comments
    assert set(__import__("networks").available()) == {"one", "two"}


def test_no_low_rank_factors_is_no_lora(tmp_path):
    save_file({"x": torch.ones(2)}, str(tmp_path / "x.safetensors"))
    with pytest.raises(LoraError, match=r"x\.safetensors: it has no pair of low-rank factors"):
        lora_files.read(tmp_path / "x.safetensors")
