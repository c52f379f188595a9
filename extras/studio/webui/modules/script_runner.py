"""Calls the scripts' methods in order, with their own slice of the arguments, swallowing what they raise."""

from __future__ import annotations

import os

from modules import errors, script_callbacks
from modules.script_base import AlwaysVisible, OnComponent, Script


def wrap_call(func, filename, funcname, *args, default=None, **kwargs):
    """func(...), or ``default`` with the error printed."""
    try:
        return func(*args, **kwargs)
    except Exception:
        errors.report(f"Error calling: {filename}/{funcname}", exc_info=True)
    return default


class ScriptRunner:
    """The scripts of one tab. ``inputs[0]`` is the dropdown; the controls of each script follow."""

    def __init__(self):
        self.scripts: list[Script] = []
        self.selectable_scripts: list[Script] = []
        self.alwayson_scripts: list[Script] = []
        self.titles: list[str] = []
        self.title_map: dict[str, Script] = {}
        self.infotext_fields: list = []
        self.paste_field_names: list[str] = []
        self.inputs: list = [None]
        self.on_before_component_elem_id: dict = {}
        self.on_after_component_elem_id: dict = {}
        self.callback_map: dict = {}
        self._is_img2img: bool | None = None

    # --- building

    def initialize_scripts(self, is_img2img: bool) -> None:
        """Make one instance of every loaded script class for this tab."""
        from modules import scripts as scripts_module

        self._is_img2img = is_img2img
        for group in (self.scripts, self.alwayson_scripts, self.selectable_scripts):
            group.clear()
        for data in scripts_module.scripts_data:
            try:
                script = data.script_class()
            except Exception:
                errors.report(f"Error # failed to initialize Script {data.module}: ", exc_info=True)
                continue
            script.filename = data.path
            script.is_txt2img, script.is_img2img = not is_img2img, is_img2img
            script.tabname = "img2img" if is_img2img else "txt2img"
            visibility = wrap_call(script.show, script.filename, "show", is_img2img, default=False)
            if visibility is AlwaysVisible:
                script.alwayson = True
                self.alwayson_scripts.append(script)
            elif visibility:
                self.selectable_scripts.append(script)
            else:
                continue
            self.scripts.append(script)
        self.apply_on_before_component_callbacks()

    def apply_on_before_component_callbacks(self) -> None:
        for script in self.scripts:
            for listed, target in (
                (script.on_before_component_elem_id, self.on_before_component_elem_id),
                (script.on_after_component_elem_id, self.on_after_component_elem_id),
            ):
                for elem_id, callback in listed or []:
                    target.setdefault(elem_id, []).append((callback, script))
                (listed or []).clear()

    def create_script_ui(self, script: Script) -> None:
        script.args_from = script.args_to = len(self.inputs)
        try:
            self._create_script_ui(script)
        except Exception:
            errors.report(f"Error creating UI for {script.name}: ", exc_info=True)

    def _create_script_ui(self, script: Script) -> None:
        from modules.api.models import ScriptArg, ScriptInfo

        script.controls = controls = wrap_call(script.ui, script.filename, "ui", script.is_img2img)
        if controls is None:
            return
        script.name = wrap_call(script.title, script.filename, "title", default=script.filename).lower()
        api_args = []
        for control in controls:
            control.custom_script_source = os.path.basename(script.filename)
            arg = ScriptArg(label=getattr(control, "label", None) or "")
            for field in ("value", "minimum", "maximum", "step"):
                if (value := getattr(control, field, None)) is not None:
                    setattr(arg, field, value)
            if (choices := getattr(control, "choices", None)) is not None:
                arg.choices = [str(c[0] if isinstance(c, (tuple, list)) else c) for c in choices]
            api_args.append(arg)
        script.api_info = ScriptInfo(
            name=script.name, is_img2img=script.is_img2img, is_alwayson=script.alwayson, args=api_args
        )
        self.infotext_fields += script.infotext_fields or []
        self.paste_field_names += script.paste_field_names or []
        self.inputs += controls
        script.args_to = len(self.inputs)

    def setup_ui_for_section(self, section, scriptlist=None) -> None:
        import gradio as gr

        for script in self.alwayson_scripts if scriptlist is None else scriptlist:
            if script.alwayson and script.section != section:
                continue
            if script.create_group:
                with gr.Group(visible=script.alwayson) as group:
                    self.create_script_ui(script)
                script.group = group
            else:
                self.create_script_ui(script)

    def prepare_ui(self) -> None:
        self.inputs = [None]

    def setup_ui(self, is_img2img: bool | None = None) -> list:
        """Build the controls in the current gr.Blocks; returns `inputs`, dropdown first.

        ``is_img2img`` may be left out once `initialize_scripts` was called. Each call starts anew.
        """
        import gradio as gr

        if is_img2img is not None and (is_img2img != self._is_img2img or not self.scripts):
            self.initialize_scripts(is_img2img)
        self.prepare_ui()
        self.infotext_fields, self.paste_field_names = [], []
        titles = {s: wrap_call(s.title, s.filename, "title") or s.filename for s in self.scripts}
        self.title_map = {title.lower(): script for script, title in titles.items()}
        self.titles = [titles[s] for s in self.selectable_scripts]
        self.setup_ui_for_section(None)
        dropdown = gr.Dropdown(
            label="Script",
            elem_id="script_list",
            choices=["None", *self.titles],
            value="None",
            type="index",
            visible=bool(self.titles),
        )
        self.inputs[0] = dropdown
        self.setup_ui_for_section(None, self.selectable_scripts)
        groups = [s.group for s in self.selectable_scripts if s.group is not None]
        if groups:

            def select_script(index):
                chosen = self.selectable_scripts[index - 1].group if index else None
                return [gr.update(visible=g is chosen) for g in groups]

            dropdown.change(fn=select_script, inputs=[dropdown], outputs=groups, queue=False)
        self.apply_on_before_component_callbacks()
        return self.inputs

    # --- running

    def _args(self, p, script: Script):
        return p.script_args[script.args_from : script.args_to]

    def ordered_scripts(self, method_name: str) -> list[Script]:
        """The scripts that override the method, in load order."""
        every = self.scripts if method_name in ("before_component", "after_component") else self.alwayson_scripts
        return [s for s in every if getattr(type(s), method_name, None) is not getattr(Script, method_name, None)]

    def _each(self, method_name: str, p, *lead, **kwargs) -> None:
        for script in self.ordered_scripts(method_name):
            try:
                getattr(script, method_name)(p, *lead, *self._args(p, script), **kwargs)
            except Exception:
                errors.report(f"Error running {method_name}: {script.filename}", exc_info=True)

    def setup_scrips(self, p, *, is_ui=True) -> None:
        for script in self.ordered_scripts("setup"):
            if not is_ui and script.setup_for_ui_only:
                continue
            try:
                script.setup(p, *self._args(p, script))
            except Exception:
                errors.report(f"Error running setup: {script.filename}", exc_info=True)

    def run(self, p, *args):
        """Run the selectable script that args[0] chooses; None when there is none."""
        index = args[0]
        if not index:
            return None
        script = self.selectable_scripts[index - 1]
        return script.run(p, *args[script.args_from : script.args_to])

    def before_process(self, p):
        self._each("before_process", p)

    def process(self, p):
        self._each("process", p)

    def before_process_batch(self, p, **kwargs):
        self._each("before_process_batch", p, **kwargs)

    def after_extra_networks_activate(self, p, **kwargs):
        self._each("after_extra_networks_activate", p, **kwargs)

    def process_batch(self, p, **kwargs):
        self._each("process_batch", p, **kwargs)

    def process_before_every_sampling(self, p, **kwargs):
        self._each("process_before_every_sampling", p, **kwargs)

    def before_hr(self, p):
        self._each("before_hr", p)

    def post_sample(self, p, ps):
        self._each("post_sample", p, ps)

    def on_mask_blend(self, p, mba):
        self._each("on_mask_blend", p, mba)

    def postprocess_batch(self, p, images, **kwargs):
        self._each("postprocess_batch", p, images=images, **kwargs)

    def postprocess_batch_list(self, p, pp, **kwargs):
        self._each("postprocess_batch_list", p, pp, **kwargs)

    def postprocess_image(self, p, pp):
        self._each("postprocess_image", p, pp)

    def postprocess_maskoverlay(self, p, ppmo):
        self._each("postprocess_maskoverlay", p, ppmo)

    def postprocess_image_after_composite(self, p, pp):
        self._each("postprocess_image_after_composite", p, pp)

    def postprocess(self, p, processed):
        self._each("postprocess", p, processed)

    def _component(self, when: str, component, listeners, kwargs) -> None:
        for callback, script in listeners:
            wrap_call(callback, script.filename, f"on_{when}_component", OnComponent(component=component))
        for script in self.ordered_scripts(f"{when}_component"):
            wrap_call(getattr(script, f"{when}_component"), script.filename, f"{when}_component", component, **kwargs)

    def before_component(self, component, **kwargs):
        self._component("before", component, self.on_before_component_elem_id.get(kwargs.get("elem_id"), []), kwargs)

    def after_component(self, component, **kwargs):
        self._component("after", component, self.on_after_component_elem_id.get(component.elem_id, []), kwargs)

    def script(self, title: str):
        """The script of that title, in any case, or None."""
        return self.title_map.get(title.lower())

    def ordered_callbacks(self, method_name, *, enable_user_sort=True):
        return [
            script_callbacks.ScriptCallback(s.filename, s, type(s).__name__) for s in self.ordered_scripts(method_name)
        ]

    def set_named_arg(self, args, script_name, arg_elem_id, value, fuzzy=False):
        """``args`` with the control of that elem_id set. RuntimeError when there is no such script or control."""
        script = next((s for s in self.scripts if s.name == script_name), None)
        if script is None:
            raise RuntimeError(f"script {script_name} not found")
        for i, control in enumerate(script.controls):
            if (arg_elem_id in control.elem_id) if fuzzy else (arg_elem_id == control.elem_id):
                copy = list(args)
                copy[script.args_from + i] = value
                return type(args)(copy)
        raise RuntimeError(f"arg_elem_id {arg_elem_id} not found in script {script_name}")
