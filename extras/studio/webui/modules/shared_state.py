"""What the running job is doing, and the switches that stop it."""

from __future__ import annotations

import datetime
import time


class State:
    """`interrupt` ends the job, `skip` the current batch, `stop_generating` after the current batch."""

    skipped = interrupted = stopping_generation = False
    job = ""
    job_no = job_count = 0
    processing_has_refined_job_count = False
    job_timestamp = "0"
    sampling_step = sampling_steps = 0
    current_latent = current_image = None
    current_image_sampling_step = id_live_preview = 0
    textinfo = None
    time_start = None

    def __init__(self):
        self.server_start = time.time()
        self.server_command = None

    @property
    def need_restart(self) -> bool:
        return self.server_command == "restart"

    def skip(self):
        self.skipped = True

    def interrupt(self):
        self.interrupted = True

    def stop_generating(self):
        self.stopping_generation = True

    def nextjob(self):
        self.job_no += 1
        self.sampling_step = 0
        self.current_image_sampling_step = 0

    def dict(self) -> dict:
        return {
            k: getattr(self, k)
            for k in (
                "skipped",
                "interrupted",
                "stopping_generation",
                "job",
                "job_count",
                "job_timestamp",
                "job_no",
                "sampling_step",
                "sampling_steps",
            )
        }

    def begin(self, job: str = "(unknown)"):
        self.sampling_step = self.sampling_steps = 0
        self.time_start = time.time()
        self.job_count = -1
        self.processing_has_refined_job_count = False
        self.job_no = 0
        self.job_timestamp = datetime.datetime.now().strftime("%Y%m%d%H%M%S")
        self.current_latent = self.current_image = None
        self.current_image_sampling_step = self.id_live_preview = 0
        self.skipped = self.interrupted = self.stopping_generation = False
        self.textinfo = None
        self.job = job

    def end(self):
        self.job = ""
        self.job_count = 0

    def set_current_image(self):
        """Refresh the preview when there is none yet, or a step has passed since the last one."""
        from modules import shared

        new = self.current_image is None or self.sampling_step != self.current_image_sampling_step
        if shared.opts.live_previews_enable and shared.opts.show_progress_every_n_steps > 0 and new:
            self.do_set_current_image()

    def do_set_current_image(self):
        if self.current_latent is None:
            return
        from modules import errors, sd_samplers_common

        try:
            self.assign_current_image(sd_samplers_common.preview_image(self.current_latent))
            self.current_image_sampling_step = self.sampling_step
        except Exception:
            errors.record_exception()

    def assign_current_image(self, image):
        self.current_image = image
        self.id_live_preview += 1
