"""The servers of these tests."""

import pytest

from tests.contract import bao as bao_server
from tests.contract.bao import Bao
from tests.kit.servers import Servers


@pytest.fixture
def bao(servers: Servers) -> Bao:
    """The one OpenBao of the session."""
    server = servers.get(bao_server.serving)
    assert isinstance(server, Bao)
    return server
