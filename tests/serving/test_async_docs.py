"""The commands of docs/async.md, as far as one machine goes: servers and clients in terminals of their own.

The page calls them sh, as tests/test_docs.py would wait for a server to end.
"""

import json
import re
import shlex
import signal
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.forks import Running
from tests.serving.small_policy import save_policy

PAGE = Path(__file__).parents[2] / "docs" / "async.md"


@pytest.fixture
def terminal(forks, tmp_path) -> Callable[[str], Running]:
    """Runs a command of the page in its folder; what it still runs in the end is ended."""
    running = []

    def run(command: str) -> Running:
        program, *arguments = shlex.split(command)
        program = sys.executable if program == "python" else program
        log = tmp_path / f"{len(running)}.log"
        running.append(forks.start([program, *arguments], log, folder=tmp_path))
        return running[-1]

    yield run
    for command in running:
        if command.runs():
            command.kill()


def is_playing(asked: Running) -> bool:
    """Whether one client plays, by the answer of the command that asks."""
    answer = json.loads(asked.wait().splitlines()[-1])
    return answer["sessions"] == 1 and answer["decisions"] >= 3


def test_servers_and_clients(terminal, tmp_path):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    text = (
        PAGE.read_text(encoding="utf-8")
        .replace("\\\n", " ")
        .replace("gpu-machine", "localhost")
        .replace("8080", str(port))
    )
    blocks = re.findall(r"^```sh\n(.*?)^```$", text, flags=re.M | re.S)
    [serve], [stock_client], [ask], [certificate, token, serve_safely], [our_client], _ = map(str.splitlines, blocks)
    save_policy(tmp_path / "outputs/train/demo/checkpoints/last/pretrained_model", picture_px=64)

    server = terminal(f"{serve} --port={port}")
    server.wait_for_log("Serving")
    client = terminal(stock_client)
    status = f"{ask} --server_address=127.0.0.1:{port}"
    client.wait_for(lambda: is_playing(terminal(status)))
    client.kill()  # LeRobot's client may take minutes to end by itself
    server.send(signal.SIGTERM)
    server.wait()

    for command in (certificate, token):
        subprocess.run(["bash", "-euc", command], cwd=tmp_path, check=True, capture_output=True)
    server = terminal(f"{serve_safely} --port={port}")
    server.wait_for_log("Serving")
    client = terminal(our_client)
    status = f"{ask} --server_address=localhost:{port} --tls_certificate=certificate.pem --token_file=token"
    client.wait_for(lambda: is_playing(terminal(status)))
    client.send(signal.SIGTERM)
    client.wait()
    server.send(signal.SIGTERM)
    server.wait()
