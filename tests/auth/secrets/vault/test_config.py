from typing import Any

import pytest

from sidecar.auth.secrets.vault.config import Kubernetes, TokenFile, VaultAddress, VaultStoreConfig
from sidecar.core.units import Duration

AUTH = TokenFile(token_file="/vault/token")


def problems(**settings: Any) -> list[str]:
    """The keys that are wrong."""
    config = VaultStoreConfig(address=VaultAddress.parse("https://vault:8200"), auth=AUTH, **settings)
    return [key for key, _ in config.problems()]


@pytest.mark.parametrize(
    ("written", "read"),
    [
        ("https://vault.example", "https://vault.example"),
        ("https://Vault.Example:8200/", "https://vault.example:8200"),
        ("http://127.0.0.1:8200", "http://127.0.0.1:8200"),
        ("https://[::1]:8200", "https://[::1]:8200"),
    ],
)
def test_an_address_is_scheme_host_and_port(written: str, read: str) -> None:
    """Vault's API is at the root."""
    assert VaultAddress.parse(written) == read


@pytest.mark.parametrize(
    "written",
    [
        "vault:8200", "ftp://vault", "https://", "https://vault/v1", "https://vault?x=1", "https://vault#x",
        "https:/ /v", "https://vault:99999", "https://vault:0", "", 8200, None,
    ],
)  # fmt: skip
def test_what_is_no_address_is_refused(written: object) -> None:
    """With what to write in its stead."""
    with pytest.raises(ValueError, match=r"https://vault\.example:8200"):
        VaultAddress.parse(written)


def test_a_password_in_an_address_is_refused_and_not_repeated() -> None:
    """What stands in the wrong place may be a secret."""
    with pytest.raises(ValueError, match="holds no credentials") as refused:
        VaultAddress.parse("https://pod:hunter-two@vault:8200")
    assert "hunter" not in str(refused.value)


@pytest.mark.parametrize("mount", ["", "/kv", "kv/", "a//b", "../sys", "a/../b", ".", "k v", "kv?x", "kv#x", "k%2fv"])
def test_a_mount_is_a_path_without_tricks(mount: str) -> None:
    """It goes into a URL."""
    assert problems(mount=mount) == ["mount"]
    assert [key for key, _ in Kubernetes(role="r", mount=mount).problems()] == ["mount"]


@pytest.mark.parametrize("mount", ["secret", "kv", "team/payments/kv", "kv-v2_x.y"])
def test_a_mount_may_be_anywhere(mount: str) -> None:
    """Also below others."""
    assert problems(mount=mount) == []


@pytest.mark.parametrize("namespace", ["/team", "team/", "", "team\r\nX-Evil: 1", "tëam"])
def test_a_namespace_goes_into_a_header(namespace: str) -> None:
    """So it holds nothing that ends one."""
    assert problems(namespace=namespace) == ["namespace"]


def test_times_have_to_make_sense() -> None:
    """Zero would ask without end, or never wait; stale values are looked at every ttl only."""
    assert problems(ttl=Duration(0)) == ["ttl"]
    assert problems(timeout=Duration(0)) == ["timeout"]
    assert problems(ttl=Duration(600), stale_max=Duration(60)) == ["stale_max"]
    assert problems() == []


def test_an_engine_that_makes_credentials_has_no_version() -> None:
    """Only key-value engines have one."""
    assert problems(engine="dynamic", kv_version=2) == ["kv_version"]
    assert problems(engine="dynamic", mount="database") == []


def test_a_vault_is_inside_the_own_network_as_a_rule() -> None:
    """Other than a vendor; metadata addresses are denied all the same."""
    assert VaultStoreConfig(address=VaultAddress.parse("https://vault:8200"), auth=AUTH).allow_private
