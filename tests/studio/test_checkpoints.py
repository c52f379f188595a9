"""Files that open, and files that do not, each with a message that says why."""

from __future__ import annotations

import pickle
import struct
from pathlib import Path

import compvis
import pytest
import torch
from safetensors.torch import load_file, save_file

from extras.studio import architectures, checkpoints
from extras.studio.checkpoint_files import CheckpointError

TOKENIZER = Path(__file__).resolve().parents[2] / "models" / "tokenizer"


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("ckpt")
    return {
        name: getattr(compvis, name)(folder / f"{name}.safetensors")
        for name in ("doodle", "sd1", "sd2", "sdxl", "refiner")
    }


@pytest.mark.parametrize(
    "name, family, context, parameterization, scale",
    [
        ("doodle", "sd1", 64, "v", 0.18215),
        ("sd1", "sd1", 768, "eps", 0.18215),
        ("sd2", "sd2", 1024, None, 0.18215),
        ("sdxl", "sdxl", 2048, "eps", 0.13025),
        ("refiner", "refiner", 1280, "eps", 0.13025),
    ],
)
def test_families_are_recognised_by_shape(files, name, family, context, parameterization, scale):
    arch = architectures.inspect(files[name])
    assert (arch.family, arch.unet["cross_attention_dim"], arch.parameterization, arch.scale_factor) == (
        family,
        context,
        parameterization,
        scale,
    )


def test_the_doodle_architecture(files):
    arch = architectures.inspect(files["doodle"])
    assert arch.unet["block_out_channels"] == [64, 128, 128] and arch.unet["attention_head_dim"] == 4
    assert arch.unet["down_block_types"] == ["CrossAttnDownBlock2D"] * 3 and arch.vae["block_out_channels"] == [64] * 4
    assert (
        arch.text[0]["hidden_size"] == 64
        and arch.text[0]["num_attention_heads"] == 4
        and arch.text[0]["num_hidden_layers"] == 2
    )


def test_sdxls_architecture(files):
    arch = architectures.inspect(files["sdxl"])
    assert arch.unet["down_block_types"] == ["DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"]
    assert arch.unet["transformer_layers_per_block"] == [1, 2, 3] and arch.unet["attention_head_dim"] == [1, 1, 1]
    assert arch.unet["projection_class_embeddings_input_dim"] == 2816


@pytest.mark.parametrize("name", ["doodle", "sd1", "sd2", "sdxl"])
def test_every_tensor_of_the_network_is_used(files, name):
    model, folder, encoders = checkpoints.load(files[name], TOKENIZER)
    tensors = load_file(str(files[name]))
    stored = sum(
        v.numel() for k, v in tensors.items() if k.startswith(("model.diffusion_model.", "first_stage_model."))
    )
    assert sum(p.numel() for m in (model.model, model.first_stage_model) for p in m.parameters()) == stored
    first = tensors["model.diffusion_model.input_blocks.0.0.weight"].float()
    assert torch.equal(model.model.diffusion_model.conv_in.weight, first)
    assert not any(p.is_meta for m in [model, *encoders] for p in [*m.parameters(), *m.buffers()])
    assert folder == TOKENIZER


@pytest.mark.parametrize("name, width", [("sd1", 768), ("sd2", 1024), ("sdxl", 2048)])
def test_other_families_draw_too(files, models_dir, extension_dir, tmp_path, name, width):
    from extras.studio.engine import Engine

    engine = Engine(models_dir, extension_dir, tmp_path, ckpt=files[name]).load()
    engine_calls = []
    handle = engine.model.model.register_forward_pre_hook(
        lambda m, a, kw: engine_calls.append((a, kw)), with_kwargs=True
    )
    try:
        res = engine.txt2img(
            {
                "prompt": "a (cat:1.2), " * 30,
                "negative_prompt": "",
                "steps": 2,
                "width": 64,
                "height": 64,
                "seed": 1,
                "sampler_name": "Euler",
                "cfg_scale": 3,
                "do_not_save_samples": True,
                "do_not_save_grid": True,
                "batch_size": 2,
            }
        )
    finally:
        handle.remove()
    assert len(res.images) == 2 and res.images[0].size == (64, 64)
    args, kwargs = engine_calls[0]
    cond = args[2] if name == "sdxl" else kwargs
    context = cond["crossattn"] if name == "sdxl" else cond["c_crossattn"][0]
    assert context.shape[1:] == (154, width)
    if name == "sdxl":
        assert cond["vector"].shape == (2, 2816)
        assert engine_calls[1][0][2]["crossattn"].abs().sum() == 0  # an empty negative is zeros, as in A1111


def test_sd2s_prediction_type_is_found_by_trying(files, tmp_path):
    model, _, _ = checkpoints.load(files["sd2"], TOKENIZER)
    assert model.parameterization in ("eps", "v")
    tensors = load_file(str(files["sd2"]))
    tensors["model.diffusion_model.out.2.bias"] = torch.full((4,), -9.0)
    save_file(tensors, str(tmp_path / "v.safetensors"))
    assert checkpoints.load(tmp_path / "v.safetensors", TOKENIZER)[0].parameterization == "v"


def test_metadata_and_yaml_say_the_prediction_type(files, tmp_path):
    tensors = load_file(str(files["sd1"]))
    save_file(tensors, str(tmp_path / "a.safetensors"), metadata={"modelspec.prediction_type": "v"})
    assert architectures.inspect(tmp_path / "a.safetensors").parameterization == "v"


# --- what cannot be opened


def _refused(path, *words):
    with pytest.raises(CheckpointError) as caught:
        checkpoints.load(path, TOKENIZER)
    message = str(caught.value)
    assert path.name in message and "allowed is one complete .safetensors" in message
    for word in words:
        assert word in message, message


def test_missing(tmp_path):
    _refused(tmp_path / "none.safetensors", "there is no file")


def test_a_folder(tmp_path):
    (tmp_path / "d.safetensors").mkdir()
    _refused(tmp_path / "d.safetensors", "not a file")


def test_truncated(files, tmp_path):
    data = files["doodle"].read_bytes()
    for name, size in (("a", 5), ("b", 0), ("c", 3000), ("d", len(data) - 1)):
        path = tmp_path / f"{name}.safetensors"
        path.write_bytes(data[:size])
        _refused(path, "truncated")


def test_pickles_are_never_read(tmp_path):
    class Bomb:
        def __reduce__(self):
            return (open, (str(tmp_path / "exploded"), "w"))

    for name in ("m.ckpt", "m.pt", "m.bin", "plain.safetensors"):
        path = tmp_path / name
        path.write_bytes(pickle.dumps({"state_dict": Bomb()}, protocol=2))
        _refused(path, "pickle")
    torch.save({"a": torch.zeros(1)}, tmp_path / "zip.safetensors")
    _refused(tmp_path / "zip.safetensors", "zip archive", "pickle")
    assert not (tmp_path / "exploded").exists()


def test_not_safetensors(tmp_path):
    path = tmp_path / "x.safetensors"
    for data in (
        b"\xff" * 100,
        struct.pack("<Q", 20) + b"not json at all, sorry",
        struct.pack("<Q", 2) + b"[]" + b"\0" * 9,
    ):
        path.write_bytes(data)
        _refused(path, "not a safetensors file")
    other = tmp_path / "x.txt"
    other.write_text("hello, world")
    _refused(other, ".txt")


@pytest.mark.parametrize(
    "keys, word",
    [
        (["double_blocks.0.img_attn.qkv.weight"], "Flux"),
        (["lora_unet_down.lora_down.weight"], "LoRA"),
        (["model.diffusion_model.joint_blocks.0.x"], "Stable Diffusion 3"),
        (["what.is.this"], "no model.diffusion_model"),
    ],
)
def test_unknown_architectures(tmp_path, keys, word):
    path = tmp_path / "x.safetensors"
    save_file({k: torch.zeros(2, 2) for k in keys}, str(path))
    _refused(path, "architecture is unknown", word)


@pytest.mark.parametrize(
    "drop, word",
    [
        ("first_stage_model.", "no VAE"),
        ("cond_stage_model.", "no text encoder"),
        ("model.diffusion_model.middle_block", "cross-attention"),
        ("model.diffusion_model.output_blocks.0.0.in_layers", "lacks"),
        ("model.diffusion_model.out.", "lacks"),
        ("first_stage_model.decoder.mid", "VAE lacks"),
        ("cond_stage_model.transformer.text_model.final_layer_norm", "text encoder lacks"),
    ],
)
def test_incomplete(files, tmp_path, drop, word):
    tensors = {k: v for k, v in load_file(str(files["doodle"])).items() if not k.startswith(drop)}
    path = tmp_path / "x.safetensors"
    save_file(tensors, str(path))
    path.with_suffix(".yaml").write_text(compvis.DOODLE_YAML)
    _refused(path, word)


def test_inpainting_models_are_refused_by_name(tmp_path):
    w = compvis._Weights(0)
    compvis.unet(w, 64, (1, 2), 1, 64, (1, 1), in_channels=9)
    save_file(dict(w), str(tmp_path / "x.safetensors"))
    _refused(tmp_path / "x.safetensors", "inpainting")


def test_a_bad_yaml(files, tmp_path):
    path = tmp_path / "x.safetensors"
    path.write_bytes(files["doodle"].read_bytes())
    path.with_suffix(".yaml").write_text("a: [unclosed")
    _refused(path, "yaml")


def test_no_tokenizer(files, tmp_path):
    with pytest.raises(CheckpointError, match=r"no tokenizer.*vocab\.json"):
        checkpoints.load(files["sd1"], tmp_path)


def test_a_bad_checkpoint_leaves_the_loaded_one(engine, tmp_path, draw):
    from modules import sd_models

    bad = tmp_path / "bad.safetensors"
    bad.write_bytes(b"\x80\x02nonsense")
    before = draw().images[0]
    sd_models.add_checkpoint(bad)
    with pytest.raises(CheckpointError):
        engine.set_checkpoint("bad.safetensors")
    assert draw().images[0].tobytes() == before.tobytes()
    bad.unlink()
    sd_models.list_models()
