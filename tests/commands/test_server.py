"""The server is for this machine, and for pages of its own."""

from __future__ import annotations

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient

from extras.studio import server
from extras.studio.commands import web


@pytest.fixture
def client():
    app = FastAPI()
    app.add_middleware(server.OnlyFromHere)

    @app.post("/do")
    def do():
        return "done"

    return TestClient(app, base_url="http://127.0.0.1:7870")


@pytest.mark.parametrize(
    "headers", [{}, {"origin": "http://127.0.0.1:7870"}, {"host": "localhost:7870", "origin": "http://localhost:7870"}]
)
def test_own_pages_and_programs_are_answered(client, headers):
    assert client.post("/do", headers=headers).json() == "done"


@pytest.mark.parametrize(
    "headers",
    [
        {"host": "attacker.example"},
        {"host": "127.0.0.1.attacker.example:7870"},
        {"origin": "https://attacker.example"},
        {"origin": "http://127.0.0.1.attacker.example"},
        {"origin": "null"},
    ],
)
def test_other_pages_are_not(client, headers):
    assert client.post("/do", headers=headers).status_code == 403


def test_a_port_that_is_taken_is_one_line_with_what_to_do(capsys):
    held = server.claim_port(0)
    port = held.getsockname()[1]
    try:
        assert held.getsockname()[0] == "127.0.0.1"
        assert web.main(["--port", str(port), "--no-browser"]) == 1
    finally:
        held.close()
    told = capsys.readouterr().err
    assert f"port {port} cannot be used" in told and "--port" in told and len(told.splitlines()) == 1


@pytest.mark.parametrize("port", ["-1", "65536", "eighty", "1e3", ""])
def test_an_impossible_port_is_refused(port, capsys):
    with pytest.raises(SystemExit):
        web.parse([f"--port={port}"])
    assert "allowed is 0 to 65535" in capsys.readouterr().err


def test_a_checkpoint_that_is_not_there_is_one_line(capsys, tmp_path):
    missing = tmp_path / "missing.safetensors"
    assert web.main(["--port", "0", "--no-browser", "--ckpt", str(missing), "--outputs", str(tmp_path)]) == 1
    told = capsys.readouterr().err
    assert "missing.safetensors" in told and "Traceback" not in told
