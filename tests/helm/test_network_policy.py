"""The NetworkPolicy: ways in and out, as the config needs them, and no other."""

from collections.abc import Iterator
from typing import Any

import pytest

from tests.helm.charts import Object, Values, laid, only, rendered

ON: Values = {"networkPolicy": {"enabled": True}, "secretVolumes": {"x": {"secret": {"secretName": "x"}}}}
MONITORING = [{"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "monitoring"}}}]
PRIVATE = ["10.0.0.0/8", "100.64.0.0/10", "169.254.0.0/16", "172.16.0.0/12", "192.168.0.0/16"]
PUBLIC = [
    {"ipBlock": {"cidr": "0.0.0.0/0", "except": PRIVATE}},
    {"ipBlock": {"cidr": "::/0", "except": ["fc00::/7", "fe80::/10"]}},
]
OAUTH = {
    "kind": "oauth2_client_credentials",
    "token_url": "https://id.example:9443/t",
    "client_id": "shop",
    "client_secret": "x:y",
}
CALLBACK = {"callback": "http://127.0.0.1:8080/jobs", "callback_secret": "x:y"}
SOMEWHERE = [{"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "elsewhere"}}}]


def policy(values: Values) -> Object:
    """Render it."""
    found: Object = only(rendered("sidecar", laid(ON, values)), "NetworkPolicy")["spec"]
    return found


def service(**keys: Any) -> Values:
    """Give values with one service."""
    return {"config": {"services": {"crm": {"base_url": "https://crm.example", **keys}}}}


def ports(rule: Object) -> list[int]:
    """Give the TCP ports of a rule."""
    return [each["port"] for each in rule["ports"] if each["protocol"] == "TCP"]


def ways_out(values: Values) -> Iterator[tuple[list[int], Any]]:
    """Give (ports, where to) of each way out but DNS."""
    for rule in policy(values)["egress"][1:]:
        yield ports(rule), rule.get("to", "anywhere")


def test_telemetry_is_for_the_monitoring_namespace() -> None:
    """And it is the one way in where no vendor calls."""
    spec = policy({})
    assert spec["policyTypes"] == ["Ingress", "Egress"]
    assert spec["ingress"] == [{"from": MONITORING, "ports": [{"protocol": "TCP", "port": 4002}]}]


@pytest.mark.parametrize("nobody", [[], None])
def test_who_names_nobody_lets_nobody_read_metrics(nobody: list[Object] | None) -> None:
    """A rule without `from` would let everybody in."""
    values: Values = {"networkPolicy": {"monitoring": nobody}}
    assert policy(values)["ingress"] == []
    own = {"ports": [{"protocol": "TCP", "port": 8080}]}
    assert policy(laid(values, {"networkPolicy": {"ingress": [own]}}))["ingress"] == [own]


def test_it_binds_the_pods_that_carry_the_label() -> None:
    """Those of this sidecar; or others, by labels of their own."""
    assert policy({})["podSelector"] == {"matchLabels": {"sidecar.dev/name": "app-sidecar"}}
    assert policy({"podSelector": {"app": "shop"}})["podSelector"] == {"matchLabels": {"app": "shop"}}


def test_webhooks_come_in_where_vendors_call() -> None:
    """From the ingress controller, where it is named."""
    hooks: Values = {
        "config": {"store": {"kind": "sqlite"}, "webhooks": {"a": {"provider": "stripe", "secret": "x:y"}}}
    }
    assert policy(hooks)["ingress"][1] == {"ports": [{"protocol": "TCP", "port": 4003}]}
    named = policy(laid(hooks, {"networkPolicy": {"webhooksFrom": SOMEWHERE}}))["ingress"][1]
    assert named["from"] == SOMEWHERE


def test_the_app_s_own_ways_are_added() -> None:
    """Since a policy binds the whole pod."""
    own = {"ports": [{"protocol": "TCP", "port": 8080}]}
    spec = policy({"networkPolicy": {"ingress": [own], "egress": [own]}})
    assert spec["ingress"][-1] == own
    assert spec["egress"][-1] == own


def test_names_are_asked_of_the_cluster_alone() -> None:
    """Over UDP and TCP."""
    dns = policy({})["egress"][0]
    assert dns["ports"] == [{"protocol": "UDP", "port": 53}, {"protocol": "TCP", "port": 53}]
    assert dns["to"] == [
        {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "kube-system"}}},
        {"ipBlock": {"cidr": "169.254.20.10/32"}},
    ]


def test_vendors_are_public_addresses_on_443() -> None:
    """Nothing else goes out: neither into the cluster nor to the metadata of the cloud."""
    assert list(ways_out(service())) == [([443], PUBLIC)]


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (service(base_url="https://crm.example:8443/v2"), [443, 8443]),
        (service(base_url="http://crm.example/v2"), [80, 443]),
        (service(auth=OAUTH), [443, 9443]),
        (laid(service(queue=CALLBACK), {"config": {"store": {"kind": "sqlite"}}}), [443]),
    ],
)
def test_ports_are_those_of_the_config(values: Values, expected: list[int]) -> None:
    """Of services and their token endpoints; what is on loopback needs no way out."""
    ((found, _),) = ways_out(values)
    assert found == expected


@pytest.mark.parametrize("keys", [{"allow_private": True}, {"upstream_proxy": "http://proxy.internal:3128"}])
def test_private_addresses_are_open_where_the_config_wants_them(keys: Values) -> None:
    """For a vendor of one's own, or a proxy; the guard of the sidecar itself still judges each service."""
    ((found, to),) = ways_out(service(**keys))
    assert to == "anywhere"
    assert (3128 in found) == ("upstream_proxy" in keys)


def test_vault_and_valkey_are_reached_where_they_stand() -> None:
    """By the ports of their addresses; anywhere, where nobody says where."""
    store = {"kind": "valkey", "url": "rediss://a.example:26379,b.example:26380"}
    vault = {"kind": "vault", "address": "https://vault.example:8200", "auth": {"method": "kubernetes", "role": "r"}}
    values: Values = {"config": {"store": store, "secrets": {"main": vault}}}
    assert list(ways_out(values))[1:] == [([8200], "anywhere"), ([26379, 26380], "anywhere")]
    named = laid(values, {"networkPolicy": {"vault": SOMEWHERE, "valkey": SOMEWHERE}})
    assert list(ways_out(named))[1:] == [([8200], SOMEWHERE), ([26379, 26380], SOMEWHERE)]


@pytest.mark.parametrize(
    ("store", "expected"),
    [
        ({"url": "redis://[fd00::1]:6380"}, [6380]),
        ({"url": "redis://a,b:6381", "mode": "cluster"}, [6379, 6381]),
        ({"url": "redis://a:26380", "mode": "sentinel", "master": "m"}, [6379, 26380]),
    ],
)
def test_every_server_of_valkey_s_is_reached(store: Values, expected: list[int]) -> None:
    """IPv6, several nodes, and the server that the sentinels name, which is on the usual port."""
    assert [found for found, _ in ways_out({"config": {"store": {"kind": "valkey", **store}}})][1:] == [expected]


def test_addresses_without_a_port_have_the_usual_one() -> None:
    """443 for Vault, 6379 for Valkey."""
    vault = {"kind": "vault", "address": "https://vault.example", "auth": {"method": "kubernetes", "role": "r"}}
    values: Values = {"config": {"store": {"kind": "valkey", "url": "redis://v/0"}, "secrets": {"main": vault}}}
    assert [found for found, _ in ways_out(values)] == [[443], [443], [6379]]


def test_the_cloud_is_asked_who_the_pod_is_where_a_store_needs_it() -> None:
    """Google's metadata server, and EKS's agent; each for those who use it."""
    google: Values = {"config": {"secrets": {"g": {"kind": "gcp", "project": "shop-1234"}}}}
    hosts = [{"ipBlock": {"cidr": "169.254.169.252/32"}}, {"ipBlock": {"cidr": "169.254.169.254/32"}}]
    assert list(ways_out(google))[1:] == [([80, 988], hosts)]
    by_file: Values = {
        "config": {
            "secrets": {"g": {"kind": "gcp", "project": "shop-1234", "credentials_file": "/etc/sidecar-secrets/v/k"}}
        }
    }
    assert len(list(ways_out(by_file))) == 1
    amazon: Values = {"aws": {"podIdentity": True}}
    assert list(ways_out(amazon))[1:] == [([80, 988], [{"ipBlock": {"cidr": "169.254.170.23/32"}}])]
