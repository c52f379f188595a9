"""An extension's script that writes down every call. Loaded by the host as scripts/recorder.py."""

import sys

import gradio as gr
import recorder_helper  # found only while the host loads this file

from modules import script_callbacks, scripts

ANSWER = recorder_helper.ANSWER
BASEDIR = scripts.basedir()
ROOT_ON_PATH = sys.path[0]
calls = []
params = []
misbehave = set()
listeners = {}


def reset():
    calls.clear()
    params.clear()
    misbehave.clear()
    listeners.clear()


def note(name, **details):
    calls.append((name, details))
    if name in listeners:
        listeners[name](details)
    if name in misbehave:
        raise RuntimeError(f"{name} misbehaves")


def names():
    return [name for name, _ in calls]


def of(name):
    return [details for n, details in calls if n == name]


class Recorder(scripts.Script):
    def title(self):
        return "Recorder"

    def show(self, is_img2img):
        return scripts.AlwaysVisible

    def ui(self, is_img2img):
        word = gr.Textbox(value="plain", label="Word", elem_id=self.elem_id("word"))
        number = gr.Slider(minimum=0, maximum=10, step=0.5, value=2.5, label="Number")
        tick = gr.Checkbox(value=False, label="Tick")
        self.infotext_fields = [
            (word, "Recorder word"),
            (number, "Recorder number"),
            (tick, lambda d: "Recorder tick" in d),
        ]
        return [word, number, tick]

    def setup(self, p, *args):
        note("setup", p=p, args=args)

    def before_process(self, p, *args):
        note("before_process", p=p, args=args, prompts=p.all_prompts, settings=dict(p.override_settings))

    def process(self, p, word, number, tick):
        note("process", p=p, args=(word, number, tick), prompts=list(p.all_prompts))
        if word != "plain":
            p.extra_generation_params["Recorder word"] = word
            p.extra_generation_params["Recorder number"] = number

    def before_process_batch(self, p, *args, **kwargs):
        note("before_process_batch", p=p, **kwargs)

    def after_extra_networks_activate(self, p, *args, **kwargs):
        note("after_extra_networks_activate", p=p, **kwargs)

    def process_batch(self, p, *args, **kwargs):
        note("process_batch", p=p, c=p.c, **kwargs)

    def process_before_every_sampling(self, p, *args, **kwargs):
        note("process_before_every_sampling", p=p, is_hr_pass=p.is_hr_pass, **kwargs)

    def before_hr(self, p, *args):
        note("before_hr", p=p)

    def post_sample(self, p, ps, *args):
        note("post_sample", p=p, ps=ps)

    def on_mask_blend(self, p, mba, *args):
        note("on_mask_blend", final=mba.is_final_blend)

    def postprocess_batch(self, p, *args, **kwargs):
        note("postprocess_batch", p=p, **kwargs)

    def postprocess_batch_list(self, p, pp, *args, **kwargs):
        note("postprocess_batch_list", p=p, pp=pp, **kwargs)

    def postprocess_image(self, p, pp, *args):
        note("postprocess_image", p=p, pp=pp)

    def postprocess_maskoverlay(self, p, ppmo, *args):
        note("postprocess_maskoverlay", p=p)

    def postprocess_image_after_composite(self, p, pp, *args):
        note("postprocess_image_after_composite", p=p)

    def postprocess(self, p, processed, *args):
        note("postprocess", p=p, processed=processed)


class Chosen(scripts.Script):
    """A script of the dropdown."""

    def title(self):
        return "Chosen"

    def ui(self, is_img2img):
        return [gr.Number(value=1, label="Times")]

    def run(self, p, times):
        from modules.processing import process_images

        note("run", times=times)
        p.n_iter = int(times)
        return process_images(p)


def _denoiser(params_):
    params.append(params_)
    note(
        "cfg_denoiser",
        step=params_.denoiser.step,
        total=params_.denoiser.total_steps,
        rows=params_.x.shape[0],
        sigma=params_.sigma.clone(),
        sampling_step=params_.sampling_step,
        denoiser=params_.denoiser,
        text_cond=params_.text_cond,
        text_uncond=params_.text_uncond,
    )


script_callbacks.on_cfg_denoiser(_denoiser)
script_callbacks.on_cfg_denoised(lambda p: note("cfg_denoised", rows=p.x.shape[0]))
script_callbacks.on_cfg_after_cfg(lambda p: note("cfg_after_cfg", rows=p.x.shape[0]))
script_callbacks.on_model_loaded(lambda m: note("model_loaded", model=m))
script_callbacks.on_app_started(lambda demo, app: note("app_started", app=app))
script_callbacks.on_infotext_pasted(lambda text, d: note("infotext_pasted", text=text, params=d))
script_callbacks.on_image_saved(lambda p: note("image_saved", filename=p.filename))
script_callbacks.on_before_ui(lambda: note("before_ui"))
