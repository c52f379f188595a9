"""The doodle models: scenes we draw, a tiny latent diffusion model trained on them, and a detector that reads presence.

Everything here exists so that guidance can be *measured*: a word in a caption implies an object that the caption does
not name (a nerd has glasses), so a negative prompt has something to delete, and the pixels say whether it did.
"""

from pathlib import Path

MODELS = Path(__file__).resolve().parents[2] / "models"
