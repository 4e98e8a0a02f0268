"""From this machine anyone may connect; from elsewhere only with the token, over TLS."""

import subprocess

import grpc
import pytest
from grpc import StatusCode

from lerobot_qwenvla.serving.access import is_loopback, open_channel, read_token
from lerobot_qwenvla.serving.server import PolicyServerConfig, client_command
from lerobot_qwenvla.serving.status import StatusConfig, status
from tests.serving.clients import EMPTY, Client, running


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """What docs/async.md makes."""
    folder = tmp_path_factory.mktemp("tls")
    key, certificate, token = (folder / name for name in ("key.pem", "certificate.pem", "token"))
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes",
         "-keyout", key, "-out", certificate, "-days", "2", "-subj", "/CN=localhost",
         "-addext", "subjectAltName=IP:127.0.0.1,DNS:localhost"],
        check=True, capture_output=True,
    )  # fmt: skip
    token.write_text("0123456789abcdef" * 2 + "\n")
    return {"tls_certificate": certificate, "tls_key": key, "token_file": token}


@pytest.fixture(scope="module")
def address(engine, files):
    with running(engine, **files) as address:
        yield address


def code_of(call, *arguments, **keywords) -> StatusCode:
    with pytest.raises(grpc.RpcError) as error:
        call(*arguments, **keywords)
    return error.value.code()


def test_who_has_the_token_is_served(address, files, declared, make_values):
    channel = open_channel(address, files["tls_certificate"], files["token_file"])
    with Client(address, channel) as client:
        client.start(declared)
        client.show(0, make_values(0))
        assert len(client.actions()) == 6
    assert "decisions" in status(StatusConfig(address, files["tls_certificate"], files["token_file"]))


@pytest.mark.parametrize("metadata", [None, [("authorization", "Bearer wrong")], [("authorization", "")]])
def test_who_has_not_is_refused(address, files, metadata, declared):
    with Client(address, open_channel(address, files["tls_certificate"])) as client:
        for call, argument in (
            (client.stub.Ready, EMPTY),
            (client.stub.GetActions, EMPTY),
            (client.stub.SendObservations, iter([])),
            (client.channel.unary_unary("/qwenvla.PolicyServer/Status"), b""),
        ):
            assert code_of(call, argument, metadata=metadata) == StatusCode.UNAUTHENTICATED


def test_without_tls_there_is_no_answer(address):
    with Client(address) as client:
        assert code_of(client.stub.Ready, EMPTY, timeout=5) == StatusCode.UNAVAILABLE


def test_a_certificate_of_another_is_refused(address, files, tmp_path):
    other = tmp_path / "other.pem"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes",
         "-keyout", tmp_path / "key", "-out", other, "-subj", "/CN=localhost",
         "-addext", "subjectAltName=IP:127.0.0.1"],
        check=True, capture_output=True,
    )  # fmt: skip
    with Client(address, open_channel(address, other, files["token_file"], enable_retries=False)) as client:
        assert code_of(client.stub.Ready, EMPTY, timeout=5) == StatusCode.UNAVAILABLE


def test_a_token_is_not_sent_in_the_open(files):
    with pytest.raises(ValueError, match="over TLS only"):
        open_channel("127.0.0.1:1", None, files["token_file"])


@pytest.mark.parametrize("text", ["", "short", "with spaces in the middle", "ümlaute-and-other-letters"])
def test_a_bad_token_is_refused(tmp_path, text):
    (tmp_path / "token").write_text(text, encoding="utf-8")
    with pytest.raises(ValueError, match="a token is at least 16"):
        read_token(tmp_path / "token")


@pytest.mark.parametrize(("host", "is_local"), [
    ("127.0.0.1", True), ("127.1.2.3", True), ("::1", True), ("[::1]", True), ("localhost", True),
    ("0.0.0.0", False), ("::", False), ("192.168.1.2", False), ("example.com", False), ("", False),
])  # fmt: skip
def test_what_is_loopback(host, is_local):
    assert is_loopback(host) == is_local


@pytest.mark.parametrize("given", [[], ["tls_certificate", "tls_key"], ["token_file"], ["tls_key", "token_file"]])
def test_a_network_needs_token_and_tls(files, engine, given):
    config = PolicyServerConfig(host="0.0.0.0", **{name: files[name] for name in given})
    with pytest.raises(ValueError, match="can be reached from other machines"):
        config.check(engine.policy.config)
    PolicyServerConfig(host="0.0.0.0", **files).check(engine.policy.config)


@pytest.mark.parametrize(("options", "message"), [
    ({"fps": 0}, "--fps"), ({"max_clients": 0}, "--max_clients"), ({"max_silence_s": -1.0}, "--max_silence_s"),
    ({"port": 70_000}, "--port"), ({"similarity_threshold": 2.0}, "--similarity_threshold"), ({"seed": -1}, "--seed"),
    ({"fps": float("nan")}, "--fps"),
])  # fmt: skip
def test_settings_out_of_range_are_refused(engine, options, message):
    with pytest.raises(ValueError, match=message):
        PolicyServerConfig(**options).check(engine.policy.config)


def test_the_clients_command_is_told(engine, files):
    plain = client_command(PolicyServerConfig(), engine.policy.config, 8080)
    assert plain.startswith("python -m lerobot.async_inference.robot_client --server_address=127.0.0.1:8080")
    assert "--actions_per_chunk=6 " in plain and "--aggregate_fn_name=latest_only" in plain
    assert "qwenvla-robot-client" in client_command(PolicyServerConfig(**files), engine.policy.config, 1)


def test_a_port_in_use_is_told(engine):
    with running(engine) as address:
        second = running(engine, port=int(address.split(":")[1]))
        with pytest.raises(ValueError, match="is a server running there already"), second:
            pass
