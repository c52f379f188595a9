"""Transformers on tensors that say they lie on GPUs: nothing waits for one, and a model may lie on two. What belonged
to one call is let go of."""

import gc
import weakref

import nag_pipelines
import pytest
import torch
from torch import nn

diffusers = pytest.importorskip("diffusers")

from extras.bench.pretended import on_device, pretending  # noqa: E402
from extras.nag.guidance import Guidance  # noqa: E402
from extras.nag.joint import shared  # noqa: E402
from extras.nag.joint.blocks import TextStream, brought  # noqa: E402
from extras.nag.settings import Settings  # noqa: E402

ONE, OTHER = (torch.device("cuda", i) for i in range(2))
HALF = torch.bfloat16
SMALL = {"attention_head_dim": 16, "num_attention_heads": 2, "joint_attention_dim": 24}
FLUX = {
    **SMALL,
    "patch_size": 1,
    "in_channels": 16,
    "num_layers": 2,
    "num_single_layers": 3,
    "axes_dims_rope": (4, 6, 6),
}
SD3 = {**SMALL, "sample_size": 16, "in_channels": 4, "num_layers": 3, "caption_projection_dim": 32, "out_channels": 4}
CHROMA = {"approximator_num_channels": 16, "approximator_hidden_dim": 32, "approximator_layers": 2}
METHODS = [{"scale": 3.0}, {"nag": False, "nag_pag_scale": 2.0}]


def made(kind):
    models = {
        "flux": lambda: diffusers.FluxTransformer2DModel(pooled_projection_dim=16, **FLUX),
        "chroma": lambda: diffusers.ChromaTransformer2DModel(**FLUX, **CHROMA),
        "sd3": lambda: diffusers.SD3Transformer2DModel(pooled_projection_dim=16, pos_embed_max_size=16, **SD3),
    }
    return models[kind]().eval()


def there(*size, dtype=HALF):
    return torch.empty(*size, device=ONE, dtype=dtype)


def call_of(kind, rows):
    text = there(rows, 8, 24)
    if kind == "sd3":
        pooled = there(rows, 16)
        return {"hidden_states": there(rows, 4, 16, 16), "encoder_hidden_states": text, "pooled_projections": pooled,
                "timestep": there(rows)}  # fmt: skip
    call = {"hidden_states": there(rows, 16, 16), "encoder_hidden_states": text, "timestep": there(rows),
            "img_ids": there(16, 3), "txt_ids": there(8, 3)}  # fmt: skip
    return call | ({"pooled_projections": there(rows, 16)} if kind == "flux" else {})


@pytest.fixture
def gpu(monkeypatch):
    """Within it there is one; what is found out about it is forgotten."""
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda *_: (9, 0))
    for name in ("_refused", "_sound"):
        monkeypatch.setattr(shared, name, set())
    with pretending(), torch.no_grad():
        yield


def guided(model, kind, rows, settings):
    """The error, and how many layers were guided of how many."""
    total = 1 + max(row for row, _ in rows)
    guidance = Guidance(Settings.parse(settings), model)
    try:
        if guidance.needs_negative:
            pooled = {"flux": there(16), "chroma": None, "sd3": None}[kind]
            guidance.set_negative(there(8, 24), pooled=pooled)
        guidance.begin([999.0, 500.0])
        guidance.step_at(999.0)
        guidance.call(rows)
        model(**call_of(kind, total))
        (part,) = guidance.parts
        return guidance.error, len(part.state.changes), len(part.layers)
    finally:
        for part in guidance.parts:
            part.step(0.0)


@pytest.mark.parametrize("settings", METHODS, ids=["NAG", "NAG-PAG"])
@pytest.mark.parametrize("rows", [[(0, 0)], [(1, 0)], [(0, 0), (2, 1)]], ids=str)
@pytest.mark.parametrize("kind", ["flux", "chroma", "sd3"])
def test_nothing_waits_for_the_device(gpu, kind, rows, settings):
    error, done, layers = guided(on_device(made(kind), HALF), kind, rows, settings)
    assert error is None and done == layers


def place(block):
    """As accelerate places a block: its weights lie there, and what it is called with is brought there."""
    for module in block.modules():
        for name, weight in list(module.named_parameters(recurse=False)):
            moved = torch.empty(weight.shape, dtype=weight.dtype, device=OTHER)
            setattr(module, name, nn.Parameter(moved, requires_grad=False))
    own = block.forward

    def forward(*args, **kwargs):
        return own(*brought(args, OTHER), **{name: brought(value, OTHER) for name, value in kwargs.items()})

    block.forward = forward


@pytest.mark.parametrize("settings", METHODS, ids=["NAG", "NAG-PAG"])
@pytest.mark.parametrize("kind", ["flux", "sd3"])
def test_a_model_may_lie_on_two_devices(gpu, kind, settings):
    model = on_device(made(kind), HALF)
    later = [*list(model.transformer_blocks)[1:], *getattr(model, "single_transformer_blocks", [])]
    for block in [*later, model.norm_out, model.proj_out]:
        place(block)
    assert model(**call_of(kind, 1), return_dict=False)[0].device == OTHER
    error, done, layers = guided(model, kind, [(0, 0)], settings)
    assert error is None and done == layers


def test_what_is_brought():
    x = torch.ones(2)
    assert brought(x, x.device) is x and brought("x", torch.device("meta")) == "x"
    both, (inner,) = brought((x, [x]), torch.device("meta"))
    assert both.is_meta and inner.is_meta
    stream = TextStream((0,), x, (x, x), 1, mask=x)
    stream.bring(torch.device("meta"))
    assert stream.text.is_meta and stream.temb[1].is_meta and stream.mask.is_meta and stream.image is None


def test_a_calls_arguments_are_let_go_of(tmp_path):
    """Those of a ControlNet, say: before the next call's come, and in the steps that are not guided."""
    model = nag_pipelines.flux(tmp_path).transformer
    r = torch.randn

    def call():
        residuals = [r(1, 16, 32) for _ in range(2)]
        text = {"encoder_hidden_states": r(1, 8, 24), "pooled_projections": r(1, 16), "txt_ids": torch.zeros(8, 3)}
        image = {"hidden_states": r(1, 16, 16), "timestep": torch.ones(1), "img_ids": torch.zeros(16, 3)}
        model(**text, **image, controlnet_block_samples=residuals)
        return weakref.ref(residuals[0])

    settings = Settings.parse({"end": 0.4, "own_image": True})
    with Guidance(settings, model, strict=True) as guidance, torch.no_grad():
        guidance.set_negative(r(8, 24), pooled=r(16))
        guidance.begin([999.0, 749.0, 499.0, 249.0])
        for t in (999.0, 499.0, 249.0):
            guidance.step_at(t)
            guidance.call([(0, 0)])
            residual = call()
            gc.collect()
            assert residual() is None
        assert not guidance.acting and not guidance.runs[0].source._streams and guidance.report.calls
