"""`nagtime.py train-tiny --flux`: the Flux doodle's stages one after the other, each resumable, then its checkpoint."""

from __future__ import annotations

import random
from pathlib import Path

from safetensors.torch import load_file, save_file

from . import captions, flux_arch, flux_checkpoint, flux_train, latents, scenes
from .evaluate import load_models
from .flux_model import FluxDoodle
from .state import load_state

MINUTES = {"flow": 20.0, "trajectories": 7.0, "straight": 3.2}
SCENES, TRAJECTORIES, SEED = 12_000, 1_216, 101


class FluxTraining:
    """The stages and the folder their states lie in.

    base: the checkpoint whose autoencoder is taken over.
    """

    def __init__(self, state: Path, base: Path, speed: float = 1.0, scenes_count: int = SCENES, say=print):
        self.state, self.speed, self.count, self.say = state, speed, scenes_count, say
        state.mkdir(parents=True, exist_ok=True)
        self.vae = flux_arch.build_vae()
        self.vae.load_state_dict(load_models(base).vae.state_dict())
        self.vae.eval().requires_grad_(False)

    def minutes(self, stage: str) -> float:
        """Budget of a stage (`fit.clock`)."""
        return MINUTES[stage] * self.speed

    def _prepared(self, model: FluxDoodle) -> FluxDoodle:
        # Plain matmuls: the fused attention's backward pass is slower than they are on a CPU.
        model.transformer.set_attention_backend("_native_math")
        return model

    def flow(self) -> None:
        """Stage 1."""
        path = self.state / "latents.safetensors"
        if not path.exists():
            z, _ = latents.encode_scenes(self.vae, self.count, SEED, say=self.say)
            save_file({"z": z}, str(path))
        z, rng = load_file(str(path))["z"], random.Random(SEED)
        content = [scenes.random_scene(rng) for _ in range(len(z))]
        model = self._prepared(flux_train.fresh())
        flux_train.train_flow(self.state / "flow.safetensors", model, z, content, self.minutes("flow"), self.say)

    def averaged(self, stage: str) -> FluxDoodle:
        """The model that a stage has trained so far."""
        model = FluxDoodle(captions.words())
        load_state(self.state / f"{stage}.safetensors", {"ema": model})
        return model.eval().requires_grad_(False)

    def straight(self) -> None:
        """Stage 2: trajectories, then the straightening."""
        folder, model = self.state / "trajectories", self._prepared(self.averaged("flow"))
        flux_train.draw_trajectories(model, folder, TRAJECTORIES, self.minutes("trajectories"), say=self.say)
        flux_train.train_straight(
            self.state / "straight.safetensors", model, folder, self.minutes("straight"), self.say
        )

    def export(self, out: Path) -> Path:
        """Write flux/doodle-flux.safetensors into the folder `out`."""
        path = flux_checkpoint.file_in(out)
        flux_checkpoint.write(path, self.averaged("straight"), self.vae)
        return path


def run(out: Path, state: Path, speed: float, scenes_count: int) -> Path:
    """All stages. Returns the checkpoint's path."""
    training = FluxTraining(state, out / "doodle-base.safetensors", speed, scenes_count)
    training.flow()
    training.straight()
    return training.export(out)
