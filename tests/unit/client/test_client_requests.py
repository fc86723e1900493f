"""The methods of a client are the requests of the protocol, all of them."""

import pytest

from overseer.client.requests import Requests
from overseer.protocol.messages import REQUESTS, Request, tag_of


@pytest.mark.parametrize("kind", REQUESTS, ids=tag_of)
def test_every_request_has_a_method(kind: type[Request]) -> None:
    """Whoever adds a request to the protocol gives it a line in ``client/requests.py``."""
    method = getattr(Requests, tag_of(kind))
    assert method.__doc__
