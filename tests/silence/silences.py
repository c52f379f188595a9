"""Every system of the extension, made to do nothing while it still says that it acts: what tests must notice.

A silence replaces one method of ours. As far as it can, it lets the original run first, so that reports, counts and
infotexts are those of a run that acted: only the picture (or the answer) is as if it had not.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

Original = Callable[..., Any]


@dataclass(frozen=True)
class Silence:
    """``name``: of the system; ``does``: what it does no more. ``where``: "module:Class.method", or "module:function";
    ``instead``: gets what is replaced, returns what stands there. ``tests``: those that must notice."""

    name: str
    does: str
    where: str
    instead: Callable[[Original], Original]
    tests: tuple[str, ...]

    def place(self) -> tuple[Any, str]:
        """(owner, attribute). AttributeError where the code has moved on."""
        module, _, path = self.where.partition(":")
        owner: Any = importlib.import_module(module)
        *outer, name = path.split(".")
        for part in outer:
            owner = getattr(owner, part)
        getattr(owner, name)
        return owner, name

    def put(self) -> Callable[[], None]:
        """Put it in place; returns what takes it away."""
        owner, name = self.place()
        original = getattr(owner, name)
        setattr(owner, name, self.instead(original))
        return lambda: setattr(owner, name, original)


def returning(pick: Callable[..., Any], when: Callable[..., bool] = lambda *args: True) -> Callable[..., Original]:
    """The original runs, and where ``when`` is true of its arguments, ``pick`` of them is what is returned."""

    def instead(original: Original) -> Original:
        def silenced(*args: Any, **kwargs: Any) -> Any:
            result = original(*args, **kwargs)
            return pick(*args) if when(*args) else result

        return silenced

    return instead


def replaced(function: Original) -> Callable[[Original], Original]:
    """Something else in its place."""
    return lambda original: function


def forced(**attributes: Any) -> Callable[[Original], Original]:
    """After the original (a constructor), these attributes are as given."""

    def instead(original: Original) -> Original:
        def silenced(self: Any, *args: Any, **kwargs: Any) -> None:
            original(self, *args, **kwargs)
            for name, value in attributes.items():
                object.__setattr__(self, name, value)

        return silenced

    return instead


def _of_text(tap: Any, *_: Any) -> bool:
    from extras.nag.branches.text import TextBranch

    return isinstance(tap.state.branch, TextBranch)


def _of_joint_text(tap: Any, *_: Any) -> bool:
    from extras.nag.joint.text import TextSource

    return isinstance(tap.state.source, TextSource)


def _method(name: str, soft: bool | None = None) -> Callable[..., bool]:
    def when(part: Any, *_: Any) -> bool:
        return part.method == name and (soft is None or soft == (part.beta < 1 or part.heads is not None))

    return when


def _no_push(part: Any, call: Any, w: float) -> Any:
    return call.conditional.new_zeros(call.conditional.shape)


def _unguided_request(original: Original) -> Original:
    def silenced(*args: Any) -> dict[str, Any]:
        fields = original(*args)
        fields["alwayson_scripts"]["NAG Time"]["args"][0] |= {"nag_pag_alpha": 0.0}
        return fields

    return silenced


def _student_from_the_start(original: Original) -> Original:
    def silenced(p: Any, settings: Any) -> Any:
        handoff = original(p, settings)
        p.override_settings["sd_model_checkpoint"], p.refiner_checkpoint = p.refiner_checkpoint, None
        return handoff

    return silenced


def _empty_texts(original: Original) -> Original:
    return lambda self, p, texts: original(self, p, [""] * len(texts))


def _of(path: str, *tests: str) -> tuple[str, ...]:
    """Some tests of a file."""
    return tuple(f"tests/{path}.py::{test}" for test in tests)


FORMULA = _of(
    "nag/test_methods",
    "test_each_method_is_its_formula",
    "test_all_methods_together_are_the_one_formula",
    "test_each_method_acts_on_every_family",
)
PIPELINE = _of("nag/test_guide_methods", "test_each_method_acts_from_the_first_step")
PICTURES = _of(
    "doodle/test_demo_methods", "test_every_method_acts_on_both_models", "test_the_pictures_are_there_and_differ"
)
SOFT = _of("nag/test_methods", "test_soft_pag_is_its_formula")
ASKING = (*FORMULA, *PIPELINE, *PICTURES)
JOINT = ("tests/nag/test_joint_published.py", "tests/nag/test_joint_blocks.py")
WEBUI = _of("scripts/test_acts", "test_it_acts_and_reports")
TRANSFORMERS = _of("scripts/test_transformer_hosts", "test_nag_and_nag_pag_act_and_leave_nothing")
FLUX, API = "tests/doodle/test_flux_deletion.py", "tests/scripts/test_http_api.py"
TAP, JOINT_TAP = "extras.nag.taps:Tap._guided", "extras.nag.joint.taps:JointTap._guided"
TERM = "extras.nag.predictions.base:Perturbation.term"


def _features_stay(when: Callable[..., bool]) -> Callable[[Original], Original]:
    return returning(lambda tap, z, *_: z, when)


def _not(when: Callable[..., bool]) -> Callable[..., bool]:
    return lambda *args: not when(*args)


def _without_settings(original: Original) -> Original:
    from dataclasses import replace

    return lambda *args, **kwargs: replace(original(*args, **kwargs), settings={})


SILENCES = (
    Silence(
        "NAG, UNets", "features stay z_pos", TAP, _features_stay(_of_text),
        (*FORMULA, *PIPELINE, *PICTURES, "tests/nag/test_run.py", *WEBUI),
    ),
    Silence(
        "NAG, SD3, Flux, Chroma", "features stay z_pos", JOINT_TAP, _features_stay(_of_joint_text),
        (*JOINT, *TRANSFORMERS, FLUX),
    ),
    Silence(
        "NAG, its negative prompt", "an empty text is encoded",
        "extras.nag.hosts.webui.negative:NegativeEncoder.encode", _empty_texts, ("tests/scripts/test_negative.py",),
    ),
    Silence(
        "NAG, single blocks as published", "the prompt's image is used", "extras.nag.joint.text:TextSource.__init__",
        forced(own_image=False), JOINT,
    ),
    Silence(
        "NAG in the library", "guide() sees no call", "extras.nag.hosts.diffusers:Guide._before_forward",
        replaced(lambda *args: None),
        (*PIPELINE, *_of("nag/test_guide", "test_the_three_lines", "test_with_and_without_cfg"),
         *_of("nag/test_guide_transformers", "test_each_method_acts_and_leaves_nothing")),
    ),
    Silence(
        "NAG in A1111's and Forge's callbacks", "no evaluation is seen",
        "extras.nag.hosts.webui.session:Session.evaluate",
        replaced(lambda self, params: None),
        (*WEBUI, *_of("scripts/test_forge", "test_every_method_acts_with_the_scale_that_the_host_applies")),
    ),
    Silence(
        "NAG in Fooocus", "no evaluation is seen", "extras.nag.hosts.fooocus.sampling:Pass.evaluate",
        replaced(lambda self, model, sigma, scale: scale), ("tests/fooocus",),
    ),
    Silence(
        "NAG Time: window", "every step is inside", "extras.nag.schedule:Resolved._inside",
        replaced(lambda self, t: True),
        ("tests/nag/test_schedule.py", *_of("scripts/test_acts", "test_the_gate_is_the_schedule")),
    ),
    Silence(
        "NAG Time: ramp", "full strength at once", "extras.nag.schedule:Schedule.__init__",
        forced(ramp_steps=0),
        ("tests/nag/test_schedule.py",
         *_of("scripts/test_acts", "test_a_ramp_rises_and_a_stronger_scale_changes_more")),
    ),
    Silence(
        "NAG Time: cooldown", "CFG stays", "extras.nag.part:Part.cfg_scale",
        returning(lambda part, cfg: cfg),
        (*_of("scripts/test_acts", "test_cooldown_lowers_cfg_after_the_window"),
         *_of("nag/test_guide", "test_cooldown_lowers_cfg_and_puts_it_back"), "tests/nag/test_report.py"),
    ),
    Silence(
        "Presets of the families", "they set nothing", "extras.nag.presetbook:_read", _without_settings,
        ("tests/nag/test_settings.py", *_of("scripts/test_panel", "test_presets_set_what_they_say")),
    ),
    Silence(
        "Presets suggested by name", "nothing is suggested", "extras.nag.suggest:suggest",
        replaced(lambda names: ""), ("tests/nag/test_suggest.py",),
    ),
    Silence(
        "Hand-off to a checkpoint", "the student draws from the start",
        "extras.nag.hosts.webui.handoff:_checkpoint_handoff", _student_from_the_start,
        ("tests/scripts/test_handoff.py",),
    ),
    Silence(
        "Hand-off by a LoRA, WebUI", "the LoRA is always on",
        "extras.nag.hosts.webui.handoff_lora:LoraHandoff._switch",
        replaced(lambda self, off: setattr(self, "off", off)), ("tests/scripts/test_handoff_lora.py",),
    ),
    Silence(
        "Hand-off by a LoRA, library", "the LoRA is always on",
        "extras.nag.hosts.diffusers_handoff:AdapterHandoff._layers",
        returning(lambda self: []), ("tests/nag/test_guide_handoff.py",),
    ),
    Silence("NAG-PAG, UNets", "features stay z_pos", TAP, _features_stay(_not(_of_text)), (*ASKING, API)),
    Silence(
        "NAG-PAG, SD3, Flux, Chroma", "features stay z_pos", JOINT_TAP, _features_stay(_not(_of_joint_text)),
        (JOINT[0], *TRANSFORMERS, FLUX),
    ),
    Silence("HTTP API", "draws with alpha 0", "extras.nag.ui.http_api:_fields", _unguided_request, (API,)),
    Silence(
        "Layer names", "every name is all layers", "extras.nag.selector:_matcher",
        returning(lambda *_: lambda layer: True), ("tests/nag/test_layers.py", API),
    ),
    Silence(
        "The account of a run", "no change is noted", "extras.nag.part:PartState.note",
        replaced(lambda self, layer, change: None), ("tests/nag/test_run.py", "tests/nag/test_report.py", *WEBUI),
    ),
    Silence(
        "The map of a run", "stays empty", "extras.nag.actmap:ActMap.add", replaced(lambda self, *args: None),
        ("tests/nag/test_actmap.py", "tests/scripts/test_map.py"),
    ),
    Silence(
        "Adaptive strength", "the factor is 1", "extras.nag.adaptive:Adaptive.factor", returning(lambda *_: 1.0),
        ("tests/nag/test_adaptive.py",),
    ),
    Silence(
        "Strength of a layer", "is 1", "extras.nag.selector:_strength", returning(lambda *_: 1.0),
        ("tests/nag/test_layers.py", "tests/nag/test_run.py", "tests/nag/test_extra_predictions.py"),
    ),
    Silence("TPG", "its term is 0", TERM, returning(_no_push, _method("TPG")), ASKING),
    Silence(
        "TPG alone", "CFG stays on", "extras.nag.guidance:Guidance.cfg_scale",
        returning(lambda self, cfg: cfg, lambda self, cfg: self.settings.tpg_mode == "alone"),
        (*_of("nag/test_methods", "test_the_modes_of_tpg"), *_of("nag/test_guide_methods",
         "test_tpg_alone_switches_cfg_off_in_its_steps", "test_tpg_alone_is_tpg_at_cfg_one"), *PICTURES),
    ),
    Silence("PAG", "its term is 0", TERM, returning(_no_push, _method("PAG", soft=False)), ASKING),
    Silence("SoftPAG", "its term is 0", TERM, returning(_no_push, _method("PAG", soft=True)), (*SOFT, *PICTURES)),
    Silence(
        "SoftPAG: beta and heads", "all heads, beta 1",
        "extras.nag.predictions.attention:AttentionPerturbation.__init__", forced(beta=1.0, heads=None),
        (*SOFT, *PICTURES),
    ),
    Silence(
        "Three-way", "the prediction stays", "extras.nag.predictions.negative:NegativePrediction.guided",
        returning(lambda part, call: call.conditional), ASKING,
    ),
    Silence(
        "LoRA in the Studio", "no layer is changed", "extras.studio.lora_modules:attach",
        replaced(lambda module, factors, strength: lambda: None), ("tests/studio/test_loras.py",),
    ),
)  # fmt: skip
