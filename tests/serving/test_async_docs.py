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
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from lerobot_qwenvla.serving.status import StatusConfig, status
from tests.serving.small_policy import save_policy

PAGE = Path(__file__).parents[2] / "docs" / "async.md"
MODULES = {
    "qwenvla-policy-server": "server",
    "qwenvla-policy-server-status": "status",
    "qwenvla-robot-client": "robot_client",
}
START_S = 300


@pytest.fixture
def terminal(tmp_path) -> Callable[[str], subprocess.Popen]:
    """Runs a command of the page in its folder; what it still runs in the end is ended."""
    running = []

    def run(command: str) -> subprocess.Popen:
        program, *arguments = shlex.split(command)
        if program in MODULES:
            arguments = ["-m", f"lerobot_qwenvla.serving.{MODULES[program]}", *arguments]
        interpreter = sys.executable if program == "python" or program in MODULES else program
        process = subprocess.Popen(
            [interpreter, *arguments], cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
        running.append(process)
        return process

    yield run
    for process in running:
        process.kill()
        process.wait()
        process.stdout.close()


def wait_for_decisions(config: StatusConfig, client: subprocess.Popen) -> dict:
    until_s = time.monotonic() + START_S
    while (got := json.loads(status(config)))["decisions"] < 3:
        assert client.poll() is None, client.communicate()[0]
        assert time.monotonic() < until_s
        time.sleep(0.1)
    return got


def wait_until_it_serves(server: subprocess.Popen) -> None:
    lines = []
    while "Serving" not in (line := server.stdout.readline()):
        lines.append(line)
        assert line, lines


def end(process: subprocess.Popen, number: int) -> None:
    process.send_signal(number)
    output, _ = process.communicate(timeout=START_S)
    assert process.returncode in (0, 1, -number), output


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
    [serve], [stock_client], [ask], [certificate, token, serve_safely], [our_client] = map(str.splitlines, blocks)
    save_policy(tmp_path / "outputs/train/demo/checkpoints/last/pretrained_model", picture_px=64)

    server = terminal(f"{serve} --port={port}")
    wait_until_it_serves(server)
    client = terminal(stock_client)
    plain = StatusConfig(f"127.0.0.1:{port}")
    assert wait_for_decisions(plain, client)["sessions"] == 1
    asked = terminal(f"{ask} --server_address=127.0.0.1:{port}")
    assert json.loads(asked.communicate(timeout=START_S)[0].splitlines()[-1])["decisions"] >= 3
    end(client, signal.SIGKILL)  # LeRobot's client may take minutes to end by itself
    end(server, signal.SIGTERM)

    for command in (certificate, token):
        subprocess.run(["bash", "-euc", command], cwd=tmp_path, check=True, capture_output=True)
    server = terminal(f"{serve_safely} --port={port}")
    wait_until_it_serves(server)
    client = terminal(our_client)
    safe = StatusConfig(f"localhost:{port}", tmp_path / "certificate.pem", tmp_path / "token")
    assert wait_for_decisions(safe, client)["sessions"] == 1
    end(client, signal.SIGTERM)
    end(server, signal.SIGTERM)
