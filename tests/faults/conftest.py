"""A Studio with small random models, and an account of everything a picture must leave as it was."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
for folder in ("tests/studio", "tests/scripts", "tests/host", "tests/host/fault_extension"):
    sys.path.append(str(ROOT / folder))  # makers of checkpoints, readers of pictures, random jobs, the injector


@pytest.fixture(scope="module", autouse=True)
def drawn_where_it_is_traced():
    """Faults come by tracing the thread that asks: pictures are drawn there."""
    from extras.studio import worker

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(worker, "call", lambda work: work())
        yield


@pytest.fixture(scope="session")
def fault_models(tmp_path_factory):
    from nano import nano

    folder = tmp_path_factory.mktemp("fault-models")
    (folder / "tokenizer").symlink_to(ROOT / "models" / "tokenizer")
    nano(folder / "alpha.safetensors", seed=0)
    nano(folder / "beta.safetensors", seed=5)
    nano(folder / "gamma.safetensors", seed=6, width=64)  # another architecture
    return folder


@pytest.fixture(scope="module")
def studio(fault_models, tmp_path_factory):
    from fault_studio import FaultStudio

    return FaultStudio(fault_models, ROOT, tmp_path_factory.mktemp("fault-out"))
