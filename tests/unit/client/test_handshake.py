"""The opening handshake: what is asked, and what each answer means."""

import pytest

from overseer.client.errors import ConnectionRefused, Unauthorized
from overseer.client.handshake import (
    Answer,
    check_accepted,
    opening_request,
    parse_answer,
    refusal,
)

KEY = b"the sample nonce"
"""The key of the example in RFC 6455 section 1.3."""


def test_the_request_asks_for_a_websocket() -> None:
    """Every header that RFC 6455 section 4.1 wants, and the token where there is one."""
    request = opening_request(path="/ws", authority="host:8080", key=KEY, token="secret")
    first, *headers = request.decode().removesuffix("\r\n\r\n").split("\r\n")
    assert first == "GET /ws HTTP/1.1"
    assert set(headers) == {
        "Host: host:8080",
        "Upgrade: websocket",
        "Connection: Upgrade",
        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
        "Sec-WebSocket-Version: 13",
        "Sec-WebSocket-Protocol: overseer.v1",
        "Authorization: Bearer secret",
    }
    assert b"Authorization" not in opening_request(path="/", authority="h", key=KEY, token=None)


def test_the_example_of_the_standard() -> None:
    """RFC 6455 section 1.3 has a key and what answers it."""
    head = (
        b"HTTP/1.1 101 Switching Protocols\r\nSEC-WebSocket-Accept:  s3pPLMBiTxaQ9kYGzzhZRbK+xOo="
    )
    answer = parse_answer(head)
    assert refusal(answer, b"", token_given=False) is None
    check_accepted(answer, KEY)
    with pytest.raises(ConnectionRefused, match="does not speak WebSocket"):
        check_accepted(answer, b"another nonce...")


def test_no_http() -> None:
    """SSH, for one, speaks first."""
    with pytest.raises(ConnectionRefused, match="does not speak HTTP"):
        parse_answer(b"SSH-2.0-OpenSSH_9.2p1")


@pytest.mark.parametrize(
    ("status", "body", "text", "permanent"),
    [
        (403, b'{"error": "8.8.8.8 is not trusted"}', "403: 8.8.8.8 is not trusted", True),
        (503, b'{"error": "too many connections"}', "503: too many connections", False),
        (502, b"<html>", "502: Bad Gateway", False),
        (404, b"[]", "404: Not Found", True),
        (500, b'{"error": 5}', "500: no reason given", False),
    ],
)
def test_refusals_use_the_words_of_the_server(
    status: int, body: bytes, text: str, permanent: bool
) -> None:
    """What may change by itself is worth another attempt, the rest is not."""
    reasons = {502: "Bad Gateway", 404: "Not Found"}
    error = refusal(Answer(status, reasons.get(status, ""), {}), body, token_given=False)
    assert error is not None
    assert (str(error), error.permanent) == (text, permanent)


def test_a_token_is_wanted() -> None:
    """No token and a wrong one are two different mistakes, whether or not the server says which."""
    answer = Answer(401, "Unauthorized", {})
    missing = refusal(answer, b"", token_given=False)
    wrong = refusal(answer, b"", token_given=True)
    told = refusal(answer, b'{"error": "a token is needed"}', token_given=False)
    assert isinstance(missing, Unauthorized)
    assert str(missing) == "401: Unauthorized (it wants a token)"
    assert str(wrong) == "401: Unauthorized (the token is not one of auth.tokens)"
    assert str(told) == "401: a token is needed"
    assert missing.permanent
