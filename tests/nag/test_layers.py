"""Finding, naming and selecting layers on the structures of SD1, SD2, SDXL, in both families."""

import nag_tiny
import pytest
from torch import nn

from extras.nag.layers import LayerError, find_blocks, find_layers, find_unet, select


def notations(layers, kind="cross"):
    return [layer.notation for layer in layers if layer.kind == kind]


def span(path, count):
    return [f"{path}{i}" for i in range(count)]


@pytest.mark.parametrize("kind", ["cross", "self"])
def test_numbering_of_sd1(sd1, kind):
    assert notations(find_layers(sd1), kind) == span("d", 6) + span("m", 1) + span("u", 9)


def test_numbering_of_sd2(sd2):
    layers = find_layers(sd2)
    assert notations(layers) == span("d", 6) + span("m", 1) + span("u", 9)
    assert [layer.heads for layer in layers][:2] == [2, 2] and layers[-1].width == 16


def test_numbering_of_sdxl(sdxl):
    layers = find_layers(sdxl)
    assert notations(layers) == span("d", 24) + span("m", 10) + span("u", 36)
    where = {layer.notation: layer.name for layer in layers if layer.kind == "cross"}
    assert all(where[f"d{i}"].startswith("down_blocks.1.") for i in range(4))
    assert all(where[f"d{i}"].startswith("down_blocks.2.") for i in range(4, 24))
    assert all(where[f"u{i}"].startswith("up_blocks.0.") for i in range(30))
    assert all(where[f"u{i}"].startswith("up_blocks.1.") for i in range(30, 36))


@pytest.mark.parametrize(("make", "depths", "middle"), [("sd1", (1, 1, 1, 0), 1), ("sdxl", (0, 2, 10), 10)])
def test_both_families_have_the_same_layers_under_each_others_names(request, make, depths, middle):
    ours = find_layers(request.getfixturevalue(make))
    other = find_layers(nag_tiny.ldm(depths, middle))
    assert [layer.notation for layer in ours] == [layer.notation for layer in other]
    assert [layer.alias for layer in ours] == [layer.name for layer in other]
    assert [layer.name for layer in ours] == [layer.alias for layer in other]


def test_published_sdxl_name_in_ldm_notation():
    layers = find_layers(nag_tiny.ldm((0, 2, 10), 10))
    (layer,) = select(layers, "input_blocks.7.1.transformer_blocks.3.attn2")
    assert layer.notation == "d7"


def test_layers_are_described(sd1):
    for layer in find_layers(sd1):
        assert sd1.get_submodule(layer.name) is layer.module
        assert layer.width == layer.module.to_q.out_features and layer.width % layer.heads == 0
    assert [layer.index for layer in find_layers(sd1)] == list(range(32))


def test_unet_is_found_inside_a_webui_model():
    unet = nag_tiny.ldm()
    assert find_unet(nag_tiny.HostModel(unet)) == (unet, "ldm")
    assert len(find_layers(nag_tiny.HostModel(unet))) == 32
    assert find_layers(nag_tiny.HostModel(unet))[0].name.startswith("input_blocks.")


def test_models_without_layers_are_refused():
    with pytest.raises(LayerError, match="Linear has no UNet"):
        find_layers(nn.Linear(2, 2))
    with pytest.raises(LayerError, match="str"):
        find_layers("model")
    bare = nn.Module()
    bare.down_blocks, bare.mid_block, bare.up_blocks = nn.ModuleList(), nn.ModuleList(), nn.ModuleList()
    with pytest.raises(LayerError, match="no attention layer"):
        find_layers(bare)


# -- selecting ---


@pytest.mark.parametrize(
    ("selector", "expected"),
    [
        ("all", "d0 d1 d2 d3 d4 d5 m0 u0 u1 u2 u3 u4 u5 u6 u7 u8"),
        (" ALL ", "d0 d1 d2 d3 d4 d5 m0 u0 u1 u2 u3 u4 u5 u6 u7 u8"),
        ("d0-d3,m0, u2", "d0 d1 d2 d3 m0 u2"),
        ("d4-5", "d4 d5"),
        ("u2,d1,u2", "d1 u2"),
        ("all,!u0-u8", "d0 d1 d2 d3 d4 d5 m0"),
        ("!m0", "d0 d1 d2 d3 d4 d5 u0 u1 u2 u3 u4 u5 u6 u7 u8"),
        ("d0-d3,!d1,d1", "d0 d1 d2 d3"),
        ("down_blocks.1.*", "d2 d3"),
        ("*.attentions.0.*,!up*", "d0 d2 d4 m0"),
        ("mid_block.attentions.0.transformer_blocks.0", "m0"),
        ("middle_block.1.transformer_blocks.0.attn2", "m0"),
        ("input_blocks.4.1.*", "d2"),
        ("output_blocks.1?.1.*", "u7 u8"),
        ("in04,OUT03", "d2 u0"),
        ("mid", "m0"),
        ("all,!M00,!in1,!in2,!in4,!in5", "d4 d5 u0 u1 u2 u3 u4 u5 u6 u7 u8"),
        ("d4.0", "d4"),
        ("u8.0,m0.0", "m0 u8"),
        ("d0-d2,d1=0", "d0 d2"),
    ],
)
@pytest.mark.parametrize("family", ["diffusers", "ldm"])
def test_selectors_mean_the_same_in_both_families(sd1, family, selector, expected):
    layers = find_layers(sd1 if family == "diffusers" else nag_tiny.ldm())
    assert notations(select(layers, selector)) == expected.split()


def test_kind_can_be_chosen(sd1):
    chosen = select(find_layers(sd1), "d0-d1", kind="self")
    assert [layer.name.rpartition(".")[2] for layer in chosen] == ["attn1", "attn1"]


@pytest.mark.parametrize(
    ("selector", "words"),
    [
        ("d6", "d6 .* does not exist.*d0-d5, m0, u0-u8"),
        ("d2-d9", "d9 .* does not exist"),
        ("d3-d1", "not a range"),
        ("d0-u3", "not a range"),
        ("attn7", "'attn7' matches nothing.*d0-d5, m0, u0-u8.*down_blocks"),
        ("*.attn1", "matches nothing"),
        ("", "names no layer"),
        (" , ,", "names no layer"),
        ("!", "cannot be read"),
        ("d0=much", "strength 'much'; allowed: a number from 0 to 1"),
        ("d0=1.5", "'d0=1.5' has the strength '1.5'"),
        ("!d0=0.5", "cannot be read"),
        ("=0.5", "cannot be read"),
        ("all=0", "leaves no layer"),
        ("all,!all", "leaves no layer"),
        ("in03", "'in03' matches nothing"),
        ("d6.0", "d6.0 .* does not exist; this model has d0.0, d1.0"),
        ("d0.0-1", "d0.1 .* does not exist"),
        ("d0.1-0", "d0.1-0"),
    ],
)
def test_unknown_layers_are_an_error_that_lists_what_exists(sd1, selector, words):
    with pytest.raises(LayerError, match=words):
        select(find_layers(sd1), selector)


def test_places_count_transformers_and_the_blocks_in_them(sdxl):
    layers = find_layers(sdxl)
    assert notations(select(layers, "d2.2-9,d3")) == ["d3", *span("d", 14)[6:]]
    assert notations(select(layers, "d3.0-9,m0.7,u0.4,u5.1")) == [*span("d", 24)[14:], "m7", "u4", "u35"]
    assert notations(select(layers, "in08")) == span("d", 24)[14:]
    with pytest.raises(LayerError, match=r"d4\.0 .*this model has d0\.0-1, d1\.0-1, d2\.0-9, d3\.0-9, m0\.0-9"):
        select(layers, "d4.0-9")
    with pytest.raises(LayerError, match="tpg_layers: 'x' matches nothing"):
        select(layers, "x", field="tpg_layers")


def test_strengths_of_layers(sd1):
    chosen = select(find_layers(sd1), "all=0.25,d0-d3=0.5, m0, !u0-u7")
    assert {layer.notation: layer.strength for layer in chosen} == {
        **dict.fromkeys(span("d", 4), 0.5),
        "d4": 0.25,
        "d5": 0.25,
        "m0": 1.0,
        "u8": 0.25,
    }


@pytest.mark.parametrize("family", ["diffusers", "ldm"])
def test_blocks_are_those_of_the_layers(sd1, family):
    model = sd1 if family == "diffusers" else nag_tiny.ldm()
    blocks, layers = find_blocks(model), find_layers(model)
    assert notations(blocks, "block") == notations(layers)
    for block, layer in zip(blocks, [x for x in layers if x.kind == "cross"], strict=True):
        assert layer.module in block.module.children() and layer.place == block.place
        assert layer.name.startswith(block.name + ".") and layer.alias.startswith(block.alias + ".")
    chosen = select(blocks, "d2-d5,middle_block.1.transformer_blocks.0", "block")
    assert notations(chosen, "block") == ["d2", "d3", "d4", "d5", "m0"]
