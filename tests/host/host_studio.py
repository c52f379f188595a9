"""Starts the Studio for the black-box tests: random checkpoints, a style, NAG Time, and the extension that injects
faults. ``python tests/host/host_studio.py FOLDER [PORT]`` prints the address and serves until it is ended."""

from __future__ import annotations

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
FAULTS = ROOT / "tests" / "host" / "fault_extension"


def arrange(folder: Path) -> tuple[Path, Path]:
    """(models, extension): an extension folder that holds the scripts of both."""
    from nano import nano

    models, extension = folder / "models", folder / "extension"
    (extension / "scripts").mkdir(parents=True)
    models.mkdir()
    (models / "tokenizer").symlink_to(ROOT / "models" / "tokenizer")
    nano(models / "alpha.safetensors", seed=0)
    nano(models / "beta.safetensors", seed=5)
    nano(models / "gamma.safetensors", seed=6, width=64)
    for script in (ROOT / "scripts" / "nag_time.py", FAULTS / "scripts" / "nag_faults.py"):
        (extension / "scripts" / script.name).symlink_to(script)
    (extension / "nag_fault_tracer.py").symlink_to(FAULTS / "nag_fault_tracer.py")
    return models, extension


def main(folder: Path, port: int = 0) -> None:
    for place in ("", "tests/faults", "tests/studio"):
        sys.path.insert(0, str(ROOT / place))
    from fastapi import FastAPI

    from extras.studio import server
    from extras.studio.engine import Engine

    models, extension = arrange(folder)
    engine = Engine(models, extension, folder / "outputs", ckpt=models / "alpha.safetensors").load()
    from modules import shared

    shared.prompt_styles.add("NAG test", "{prompt}, red", "hat")
    claimed = server.claim_port(port)
    address = f"http://{server.HOST}:{claimed.getsockname()[1]}"
    server.serve(engine.create_api(FastAPI()), claimed, lambda: print(f"ready {address}", flush=True))


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else 0)
