"""What lies in files: pickles in any disguise, YAML, presets, plans, folders that are links."""

from __future__ import annotations

import ast
import io
import json
import os
import pickle
import re
import shutil
import struct
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from extras.lab import plan
from extras.lab.errors import PlanError
from extras.nag import presetbook
from extras.nag.field import SettingsError
from extras.nag.hosts.fooocus import patch
from extras.studio import lora_files
from extras.studio.checkpoint_files import CheckpointError, read_header, read_yaml
from extras.studio.commands import models

ROOT = Path(__file__).resolve().parents[2]
CODE = [ROOT / "nagtime.py", ROOT / "install.py", *(ROOT / "scripts").rglob("*.py"), *(ROOT / "extras").rglob("*.py")]


class Bomb:
    """Unpickled, it makes a file."""

    def __init__(self, mark: Path):
        self.mark = mark

    def __reduce__(self):
        return (os.mkdir, (str(self.mark),))


def pickled(mark: Path, protocol: int = 2) -> bytes:
    return pickle.dumps({"state_dict": Bomb(mark)}, protocol=protocol)


def archive(mark: Path) -> bytes:
    """As torch.save writes it."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as file:
        file.writestr("archive/data.pkl", pickled(mark))
    return out.getvalue()


def tensors(content: bytes, **metadata: str) -> bytes:
    """A well-formed safetensors file with one tensor of these bytes."""
    head = {"__metadata__": metadata, "x": {"dtype": "U8", "shape": [len(content)], "data_offsets": [0, len(content)]}}
    head = json.dumps(head).encode()
    return struct.pack("<Q", len(head)) + head + content


def disguises(mark: Path) -> dict[str, bytes]:
    """Name of a file -> a pickle in it, bare or hidden."""
    return {
        **{f"protocol{n}.safetensors": pickled(mark, n) for n in range(pickle.HIGHEST_PROTOCOL + 1)},
        "bare.ckpt": pickled(mark),
        "zip.pt": archive(mark),
        "zip.safetensors": archive(mark),
        "behind.safetensors": tensors(b"12345678") + archive(mark),
        "inside.safetensors": tensors(archive(mark)),
        "metadata.safetensors": tensors(b"12345678", pickle=pickled(mark, 0).decode("latin-1")),
    }


def test_no_pickle_is_opened_in_any_disguise(served, watched, tmp_path):
    """As checkpoint and as LoRA of a running Studio: refused with a reason, and nothing was unpickled."""
    mark = tmp_path / "exploded"
    assert os.path.isdir(mark) is False
    for name, content in disguises(mark).items():
        (served.models / name).write_bytes(content)
        (served.models / "Lora" / name).write_bytes(content)
    (served.models / "yaml.safetensors").write_bytes((served.models / "alpha.safetensors").read_bytes())
    (served.models / "yaml.yaml").write_text(f"x: !!python/object/apply:os.mkdir ['{mark}']\n")
    loaded = served.get("options")["sd_model_checkpoint"]
    with watched() as seen:
        served.post("refresh-checkpoints")
        listed = {entry["model_name"] for entry in served.get("sd-models")}
        for name in [*disguises(mark), "yaml.safetensors"]:
            status, told = served.post("options", sd_model_checkpoint=name)
            assert status == 422, name
            assert Path(name).stem in told["detail"], told
            status, told = served.draw(prompt=f"a nerd <lora:{Path(name).stem}:1>")
            assert status == 200 and Path(name).stem in json.loads(told["info"])["comments"][0]
    assert not {"bare", "zip.pt"} & listed, "what is no safetensors is not even listed"
    assert seen.unpickled == [] and not mark.exists()
    assert served.get("options")["sd_model_checkpoint"] == loaded


@pytest.mark.parametrize("name", sorted(disguises(Path("x"))))
def test_a_disguised_pickle_is_refused_by_both_readers(tmp_path, watched, name):
    path, mark = tmp_path / name, tmp_path / "exploded"
    path.write_bytes(disguises(mark)[name])
    with watched(own_thread=True) as seen:
        with pytest.raises(lora_files.LoraError, match=re.escape(name)):
            lora_files.read(path)
        if not name.startswith(("inside", "metadata")):  # well-formed: only bytes that nobody unpickles
            with pytest.raises(CheckpointError, match=re.escape(name)):
                read_header(path)
    assert seen.unpickled == [] and not mark.exists()


@pytest.mark.parametrize(
    "head",
    [
        b"[" * 100_000,
        b'{"x":' * 100_000,
        b'{"x": {"dtype": "F32", "shape": [1099511627776], "data_offsets": [0, 8]}}',
        b'{"x": {"dtype": "F32", "shape": [-1], "data_offsets": [0, 8]}}',
        b'{"x": {"dtype": "F32", "shape": [2], "data_offsets": [8, 0]}}',
        b'{"x": 5}',
    ],
)
def test_a_lying_header_is_refused(tmp_path, head):
    path = tmp_path / "lie.safetensors"
    path.write_bytes(struct.pack("<Q", len(head)) + head + b"12345678")
    with pytest.raises(lora_files.LoraError):
        lora_files.read(path)


def calls_in(tree: ast.AST) -> list[tuple[str, ast.Call]]:
    found = [(ast.unparse(node.func), node) for node in ast.walk(tree) if isinstance(node, ast.Call)]
    return [(name, node) for name, node in found]


def test_nothing_here_can_unpickle_or_run_text():
    """No pickle, no eval, no shell, no YAML but the safe kind. torch.load stands once, told to take tensors alone."""
    loads = []
    for path in CODE:
        tree = ast.parse(path.read_text("utf-8"))
        modules = {a.name.split(".")[0] for n in ast.walk(tree) if isinstance(n, ast.Import) for a in n.names}
        modules |= {(n.module or "").split(".")[0] for n in ast.walk(tree) if isinstance(n, ast.ImportFrom)}
        assert not modules & {"pickle", "cPickle", "dill", "cloudpickle", "joblib", "shelve", "marshal"}, path
        for name, call in calls_in(tree):
            keys = {k.arg: ast.unparse(k.value) for k in call.keywords}
            assert name not in ("eval", "exec", "os.system", "os.popen", "yaml.load", "yaml.unsafe_load"), (path, name)
            assert keys.get("shell", "False") == "False" and keys.get("allow_pickle", "False") == "False", (path, name)
            assert keys.get("trust_remote_code", "False") == "False", (path, name)
            if name == "torch.load":
                loads.append(path.relative_to(ROOT).as_posix())
                assert keys.get("weights_only") == "True", path
            if name == "yaml.compose":
                assert keys.get("Loader") == "yaml.SafeLoader", path
    assert loads == ["extras/lab/metrics/perceptual.py"]


SPEAKS = {  # who may open a connection: to whom
    "extras/lab/engines/webui.py": "urllib",  # the WebUI that --url names
    "extras/nag/ui/http_api.py": "httpx",  # the same process, by ASGITransport
    "extras/studio/pictures/host.py": "urllib",  # the WebUI that --host names
    "extras/studio/server.py": "socket",  # listens
    "extras/studio/guard.py": "safehttpx",  # is switched off there
    "extras/studio/soak/talk.py": "http",  # its own Studio, on 127.0.0.1
}


def test_no_module_speaks_to_the_network_but_those_named():
    network = {"socket", "ssl", "http", "urllib", "urllib3", "httpx", "requests", "aiohttp", "ftplib", "smtplib"}
    network |= {"safehttpx", "websockets", "gradio_client", "telnetlib", "xmlrpc"}
    for path in CODE:
        tree = ast.parse(path.read_text("utf-8"))
        names = {a.name for n in ast.walk(tree) if isinstance(n, ast.Import) for a in n.names}
        names |= {n.module or "" for n in ast.walk(tree) if isinstance(n, ast.ImportFrom) and n.level == 0}
        spoken = {name.split(".")[0] for name in names if name != "urllib.parse"} & network
        assert spoken <= {SPEAKS.get(path.relative_to(ROOT).as_posix(), "")}, path
    online = ("from_pretrained", "hf_hub_download", "snapshot_download")
    for path in CODE:
        for name, call in calls_in(ast.parse(path.read_text("utf-8"))):
            if name.rpartition(".")[2] in online:
                assert "local_files_only=True" in ast.unparse(call), (path, ast.unparse(call))


def test_yaml_makes_no_objects(tmp_path, watched):
    mark = tmp_path / "exploded"
    text = f"x: !!python/object/apply:os.mkdir ['{mark}']\n"
    (tmp_path / "m.yaml").write_text(text)
    with watched(own_thread=True) as seen:
        with pytest.raises(PlanError, match="is not YAML"):
            plan.load(tmp_path / "m.yaml")
        with pytest.raises(CheckpointError, match="is not valid yaml"):
            read_yaml(tmp_path / "m.safetensors")
    assert seen.run == [] and not mark.exists()


LEVELS = [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 10)]


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("a: &a [*a]", "contains itself"),
        ("[" * 5000, "nested too deeply"),
        ("\n".join(["a0: &a0 [x, x, x, x, x, x, x, x, x]", *LEVELS]), "aliases written out"),
    ],
)
def test_a_plan_that_unfolds_without_end_is_refused(tmp_path, text, told):
    (tmp_path / "p.yaml").write_text(text)
    with pytest.raises(PlanError, match=told):
        plan.load(tmp_path / "p.yaml")


@pytest.mark.parametrize("name", ["..", ".", ".hidden", "../x", "/etc/x", "a/b", "a\\b", "-rf", "", "x" * 61, "a\nb"])
def test_a_plans_name_is_one_folder_below_the_outputs(tmp_path, name):
    from extras.lab.tab import name_of

    text = (ROOT / "plans" / "h123.yaml").read_text("utf-8")
    text = re.sub(r"^name: .*$", lambda m: f"name: {json.dumps(name)}", text, count=1, flags=re.MULTILINE)
    (tmp_path / "p.yaml").write_text(text)
    with pytest.raises(PlanError, match="name"):
        plan.load(tmp_path / "p.yaml")
    folder = (tmp_path / "lab" / name_of(text)).resolve()
    assert folder.parent == (tmp_path / "lab").resolve()


NASTY = "../../../x<y>|:*?\"'\\"
ARM = NASTY.translate({ord(c): None for c in "/\\"})  # no arm may have those
PLAN = f"""
name: nasty
models:
  few: {{checkpoint: {json.dumps(NASTY)}, steps: 4, sampler: Euler, width: 64, height: 64, batch: 2}}
pairs:
  - {{id: {json.dumps(NASTY)}, prompt: {json.dumps(NASTY)}, target: glasses, subject: nerd}}
seeds: {{first: 100, count: 2}}
arms:
  - {{name: {json.dumps(ARM)}, role: nag, nag: {{scale: 4}}}}
"""


def test_a_run_writes_into_its_folder_alone(tmp_path, watched):
    """Whatever its models, prompts and arms are called: results, pictures, report, export."""
    sys.path.append(str(ROOT / "tests" / "lab"))
    from lab_fake import Fake

    from extras.lab import runner
    from extras.lab.export import export
    from extras.lab.report import write_report

    path, folder = tmp_path / "nasty.yaml", tmp_path / "run"
    path.write_text(PLAN, encoding="utf-8")
    with watched(own_thread=True) as seen:
        runner.run(plan.load(path), PLAN, folder, Fake(), metrics=False, say=lambda told: None)
        write_report(folder)
        export(folder, folder / "csv")
    assert len(list(folder.rglob("*.png"))) >= 4 and (folder / "csv").is_dir()
    assert [p for p in seen.written_outside(folder) if not p.startswith(str(Path.home()))] == []


@pytest.mark.parametrize("name", ["../x", "/etc/x", "..", "a/b", "a\\b", "CON", "x\0", "x\n", "<img>", ".x", "x."])
@pytest.mark.parametrize("do", ["save", "load", "delete"])
def test_a_presets_name_stays_in_its_folder(tmp_path, watched, do, name):
    folder = tmp_path / "user"
    folder.mkdir()
    (tmp_path / "x.json").write_text('{"settings": {}}')
    work = {
        "save": lambda: presetbook.save_preset(name, {}, folder=folder),
        "load": lambda: presetbook.load_preset(name, folder),
        "delete": lambda: presetbook.delete_preset(name, folder),
    }[do]
    with watched(own_thread=True) as seen, pytest.raises(SettingsError):
        work()
    assert seen.written == [] and sorted(p.name for p in tmp_path.rglob("*")) == ["user", "x.json"]


@pytest.fixture
def webui(tmp_path):
    folder = tmp_path / "webui"
    for name in models.WANTED:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text("")
    return folder


def test_models_writes_below_the_webuis_models_folder_alone(webui, watched):
    with watched(own_thread=True) as seen:
        models.copy(webui)
        models.remove(webui)
    assert seen.written and seen.written_outside(webui / "models") == []


@pytest.mark.parametrize("key", ["../precious", "models/../../precious", "/precious", "models\\..\\..\\precious"])
def test_a_list_that_names_files_elsewhere_takes_out_nothing(webui, tmp_path, key):
    precious = tmp_path / "precious"
    precious.write_text("keep")
    models.copy(webui)
    key = str(precious) if key == "/precious" else key
    listed = {"files": {key: models._sha256(b"keep")}}
    (webui / "models" / "Stable-diffusion" / models.MANIFEST).write_text(json.dumps(listed))
    models.remove(webui)
    assert precious.read_text() == "keep"


def test_models_in_a_folder_that_is_a_link_are_taken_out_again(webui, tmp_path):
    disk = tmp_path / "large disk"
    disk.mkdir()
    (webui / "models").mkdir(exist_ok=True)
    (webui / "models" / "Stable-diffusion").symlink_to(disk)
    models.copy(webui)
    assert (disk / "doodle-student.safetensors").is_file()
    models.remove(webui)
    assert list(disk.iterdir()) == []


@pytest.mark.parametrize("link", ["extras", "extras/nag"])
def test_fooocus_is_changed_inside_its_tree_alone(tmp_path, link):
    tree, precious = tmp_path / "fooocus", tmp_path / "precious"
    (precious / "nag").mkdir(parents=True)
    (precious / "nag" / "keep.txt").write_text("keep")
    (tree / link).parent.mkdir(parents=True, exist_ok=True)
    (tree / link).symlink_to(precious if link == "extras" else precious / "nag")
    for work in (lambda: patch.apply(tree, {}, ROOT / "extras" / "nag"), lambda: patch.undo(tree, {})):
        with pytest.raises(patch.TreeError, match="is a link"):
            work()
    assert [p.name for p in precious.rglob("*")] == ["nag", "keep.txt"]


def test_the_set_up_alone_reaches_for_the_network(tmp_path):
    """With every connection refused, a picture is drawn from a cold start."""
    source = """
import socket, sys, os
def refuse(event, args):
    if event in ("socket.connect", "socket.getaddrinfo", "socket.sendto"):
        raise PermissionError(f"{event} {args}")
sys.addaudithook(refuse)
from extras.studio.commands import web
from extras.studio.engine import Engine
from pathlib import Path
engine = Engine(Path(sys.argv[1]), Path.cwd(), Path(sys.argv[2]), ckpt=Path(sys.argv[1]) / "alpha.safetensors").load()
from extras.studio import server
server.app_of(engine)
drawn = engine.txt2img({"prompt": "a nerd", "steps": 1, "width": 64, "height": 64, "do_not_save_samples": True})
print("drawn", drawn.images[0].size)
"""
    from nano import nano

    folder = tmp_path / "models"
    folder.mkdir()
    nano(folder / "alpha.safetensors", seed=0)
    shutil.copytree(ROOT / "models" / "tokenizer", folder / "tokenizer")
    done = subprocess.run(
        [sys.executable, "-c", source, str(folder), str(tmp_path / "out")], cwd=ROOT, capture_output=True, text=True,
        timeout=240, env={k: v for k, v in os.environ.items() if not k.startswith(("HF_", "TRANSFORMERS", "GRADIO"))},
    )  # fmt: skip
    assert done.returncode == 0 and "drawn (64, 64)" in done.stdout, done.stderr
