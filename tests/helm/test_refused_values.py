"""Values that are wrong are refused as a chart is rendered, with the path of what is wrong and what to write."""

import json
import re
from collections.abc import Iterator
from typing import Any

import helm_python
import pytest

from sidecar.config.load import load, tables
from sidecar.config.schema import schema
from sidecar.config.walk import leaves
from sidecar.core.secret import SecretRef
from tests.helm.charts import HELM, ROOT, Values, benched, example_fragment, laid, rendered

CONFIG: Values = {
    "config": {
        "services": {"crm": {"base_url": "https://crm.example", "auth": {"kind": "bearer", "secret": "vendors:x"}}}
    },
    "secretVolumes": {"vendors": {"secret": {"secretName": "vendors"}}},
}
SQLITE: Values = {"config": {"store": {"kind": "sqlite"}}}
HOOK: Values = {
    "config": {"store": {"kind": "sqlite"}, "webhooks": {"stripe": {"provider": "stripe", "secret": "vendors:hook"}}}
}
ROUTES: Values = {"a": {"match": "GET /a"}, "b": {"match": "GET /b"}}

# By the schema: (values, the path, what the message says of it).
BY_SCHEMA: list[tuple[Values, str, str]] = [
    ({"nativesidecar": True}, "", "'nativesidecar' not allowed"),
    ({"image": {"pullpolicy": "Always"}}, "/image", "'pullpolicy' not allowed"),
    ({"image": {"pullPolicy": "Sometimes"}}, "/image/pullPolicy", "'Always', 'IfNotPresent', 'Never'"),
    ({"image": {"digest": "latest"}}, "/image/digest", "does not match pattern"),
    ({"image": {"tag": 1.0}}, "/image/tag", "got number, want string"),
    ({"config": "services"}, "/config", "got string, want object"),
    ({"replicas": 0}, "/replicas", "minimum: got 0, want 1"),
    ({"replicas": 1.5}, "/replicas", "got number, want null or integer"),
    ({"routeOrder": {"crm": "a"}}, "/routeOrder/crm", "got string, want array"),
    ({"routeOrder": {"crm": ["a", "a"]}}, "/routeOrder/crm", "items at 0 and 1 are equal"),
    ({"files": {"sidecar.toml": ""}}, "/files/sidecar.toml", "false schema"),
    ({"files": {"../x": ""}}, "/files", "'../x' not allowed"),
    ({"nativeSidecar": "true"}, "/nativeSidecar", "got string, want boolean"),
    ({"terminationGracePeriodSeconds": "60s"}, "/terminationGracePeriodSeconds", "got string, want integer"),
    ({"resources": {"request": {}}}, "/resources", "'request' not allowed"),
    ({"resources": {"requests": {"ram": "1Gi"}}}, "/resources/requests", "'ram' not allowed"),
    ({"probes": {"startup": {"period": 1}}}, "/probes/startup", "'period' not allowed"),
    ({"secretVolumes": {"V": {"secret": {"secretName": "v"}}}}, "/secretVolumes", "'V' not allowed"),
    ({"secretVolumes": {"v": {}}}, "/secretVolumes/v", "minProperties: got 0, want 1"),
    ({"secretVolumes": {"v": {"secret": {"name": "v"}}}}, "/secretVolumes/v/secret", "'name' not allowed"),
    ({"secretVolumes": {"v": {"secret": {}}}}, "/secretVolumes/v/secret", "missing property 'secretName'"),
    ({"secretVolumes": {"v": {"csi": {"provider": "vault"}}}}, "/secretVolumes/v/csi", "'parameters'"),
    ({"secretVolumes": {"v": {"csi": {"provider": "x", "parameters": {}}}}}, "/secretVolumes/v/csi/provider", "'aws'"),
    ({"serviceAccount": {"annotations": {"a": 1}}}, "/serviceAccount/annotations/a", "got number, want string"),
    ({"tokens": {"w": {}}}, "/tokens/w", "missing property 'audience'"),
    ({"tokens": {"aws": {"audience": "x"}}}, "/tokens/aws", "false schema"),
    ({"tokens": {"w": {"audience": "x", "expirationSeconds": 60}}}, "/tokens/w/expirationSeconds", "minimum"),
    ({"aws": {"roleArn": "reader"}}, "/aws/roleArn", "does not match pattern"),
    ({"persistence": {"kind": "pvc"}}, "/persistence/kind", "'emptyDir', 'claimTemplate', 'existingClaim'"),
    ({"persistence": {"size": "1GiB"}}, "/persistence/size", "does not match pattern"),
    ({"socket": True}, "/socket", "got boolean, want object"),
    ({"socket": None}, "", "missing property 'socket'"),
    ({"webhooks": {"ingress": {"hosts": []}}}, "/webhooks/ingress", "'hosts' not allowed"),
    ({"webhooks": {"service": {"port": 70000}}}, "/webhooks/service/port", "maximum"),
    ({"webhooks": {"httpRoute": {"pathPrefix": "hooks"}}}, "/webhooks/httpRoute/pathPrefix", "does not match pattern"),
    ({"networkPolicy": {"vault": [{"selector": {}}]}}, "/networkPolicy/vault/0", "'selector' not allowed"),
    ({"networkPolicy": {"dns": {"ports": []}}}, "/networkPolicy/dns/ports", "minItems"),
    ({"podMonitor": {"interval": "often"}}, "/podMonitor/interval", "does not match pattern"),
    ({"alerts": {"label": {}}}, "/alerts", "'label' not allowed"),
    ({"env": [{"value": "x"}]}, "/env/0", "missing property 'name'"),
    ({"runAsUser": 0}, "/runAsUser", "minimum: got 0, want 1"),
]

# By the templates, since a schema cannot say it: (values, the sentence, or its beginning).
BY_TEMPLATE: list[tuple[Values, str]] = [
    ({"replicas": 2, "config": {"sidecar": {"replicas": 3}}}, "replicas: 2, but config.sidecar.replicas is 3"),
    ({"terminationGracePeriodSeconds": 54}, "terminationGracePeriodSeconds: 54 is too short"),
    ({"config": {"sidecar": {"drain_timeout": "1m"}}}, "write at least 90"),
    ({"config": {"listen": {"telemetry": "127.0.0.1:4002"}}}, "config.listen.telemetry: 127.0.0.1:4002 cannot be"),
    (
        {"config": {"listen": {"telemetry": "0.0.0.0:4000"}}},
        "config.listen.egress[0]: 127.0.0.1:4000 is already taken by config.listen.telemetry",
    ),
    (laid(HOOK, {"config": {"listen": {"webhooks": "[::]:4001"}}}), "config.listen.webhooks: [::]:4001 is already"),
    ({"config": {"listen": {"webhooks": "unix:/x.sock"}}}, "config.listen.webhooks: unix:/x.sock cannot be reached"),
    ({"socket": {"enabled": True}, "config": {"listen": {"egress": ["127.0.0.1:4000"]}}}, "socket.enabled: config"),
    ({"config": {"listen": {"egress": ["unix:/run/sidecar/x.sock"]}}}, "config.listen.egress: nothing is mounted"),
    ({"config": {"services": {"crm": {"routes": ROUTES}}}}, "routeOrder.crm: the first route that matches wins"),
    (
        {"config": {"services": {"crm": {"routes": ROUTES}}}, "routeOrder": {"crm": ["a"]}},
        "routeOrder.crm: list each of these once: a, b",
    ),
    ({"routeOrder": {"erp": ["a"]}}, "routeOrder.erp: config.services.erp has no routes"),
    ({"config": {"secrets": {"f": {"kind": "file", "path": "/run/f"}}}}, "config.secrets.f.path: nothing is mounted"),
    (
        {"config": {"secrets": {"vendors": {"kind": "gcp", "project": "shop-1234"}}}},
        "secretVolumes.vendors: config.secrets.vendors is a store of another kind",
    ),
    (
        {
            "config": {
                "secrets": {
                    "main": {
                        "kind": "vault",
                        "address": "https://vault",
                        "auth": {"method": "jwt", "role": "r", "token_file": "/var/run/tokens/vault"},
                    }
                }
            }
        },
        "config: it reads /var/run/tokens/vault, and there is no such token; add tokens.vault",
    ),
    (laid(SQLITE, {"persistence": {"size": "300Mi"}}), "persistence.size: 300Mi is too small"),
    (laid(SQLITE, {"config": {"store": {"bytes_max": "2GiB"}}}), "persistence.size: 1Gi is too small"),
    (laid(SQLITE, {"config": {"store": {"path": "state.db"}}}), "config.store.path: state.db is not below"),
    (
        laid(SQLITE, {"persistence": {"kind": "existingClaim", "claimName": "c"}, "replicas": 2}),
        "persistence.kind: one claim serves one pod",
    ),
    (laid(SQLITE, {"persistence": {"kind": "existingClaim"}}), "persistence.claimName: name the claim"),
    ({"persistence": {"kind": "claimTemplate"}}, "persistence.kind: claimTemplate, but nothing is kept on disk"),
    ({"webhooks": {"service": {"enabled": True}}}, "webhooks.service.enabled: config.webhooks names none"),
    (laid(HOOK, {"webhooks": {"ingress": {"enabled": True}}}), "webhooks.service.enabled: the Ingress"),
    (laid(HOOK, {"webhooks": {"ingress": {"enabled": True}}}), "webhooks.ingress.host: name the host"),
    (laid(HOOK, {"webhooks": {"httpRoute": {"enabled": True}}}), "webhooks.httpRoute.parentRefs: name the Gateway"),
    ({"aws": {"podIdentity": True, "roleArn": "arn:aws:iam::123456789012:role/r"}}, "aws.podIdentity: roleArn is"),
    ({"alerts": {"enabled": True}}, "alerts.runbookUrl: say where docs/runbook.md is published"),
    ({"files": {"x": "x" * 1_000_001}}, "files: they and sidecar.toml are"),
    ({"files": {"a/b": "x", "a--b": "y"}}, "files.a/b: in the ConfigMap it has the same key as a--b"),
    (
        {"config": {"services": {"crm": {"auth": {"secret": "vendor:x"}}}}},
        'config.services.crm.auth.secret: its store is "vendor", and there is vendors; write another one, or add',
    ),
    (
        laid(HOOK, {"config": {"webhooks": {"stripe": {"secret": ["vendors:a", "old:b"]}}}}),
        "config.webhooks.stripe.secret",
    ),
    (
        {"config": {"services": {"crm": {"auth": {"secret": "vendors:{environment}"}}}}},
        "write config.sidecar.environment",
    ),
]


def refusal(chart: str, values: Values) -> str:
    """Render values that are wrong, and give what Helm says."""
    with pytest.raises((helm_python.HelmValuesError, helm_python.HelmRenderError)) as caught:
        rendered(chart, values)
    return str(caught.value)


@pytest.mark.parametrize(("values", "path", "said"), BY_SCHEMA)
def test_the_schema_refuses_with_the_path(values: Values, path: str, said: str) -> None:
    """As `helm install` and `helm lint` say it, and also below the dependency's name."""
    told = refusal("sidecar", values)
    assert f"at '{path}': " in told
    assert said in told
    assert f"at '{path}': " in refusal("examples/bare", {"sidecar": values})


@pytest.mark.parametrize(("values", "said"), BY_TEMPLATE)
def test_what_does_not_fit_together_is_refused_with_a_sentence(values: Values, said: str) -> None:
    """By the templates; also where the pod is made, which may be without the objects."""
    assert said in refusal("sidecar", laid(CONFIG, values))
    assert said in refusal("examples/bare", {"sidecar": laid(CONFIG, {**values, "renderObjects": False})})


def test_all_that_does_not_fit_is_told_at_once() -> None:
    """Who mends one thing should not meet the next one only then."""
    told = refusal("sidecar", {"terminationGracePeriodSeconds": 10, "persistence": {"kind": "claimTemplate"}})
    assert "terminationGracePeriodSeconds: 10" in told
    assert "persistence.kind: claimTemplate" in told


@pytest.mark.parametrize("chart", ["sidecar", "injector"])
def test_a_parent_s_global_values_are_let_through(chart: str) -> None:
    """Helm puts `global` into every dependency's values."""
    assert rendered(chart, {"global": {"team": "checkout"}}) is not None


def test_an_older_cluster_wants_a_plain_container() -> None:
    """Before 1.29 an init container that is always restarted would never let the pod start."""
    with pytest.raises(helm_python.HelmRenderError, match=r"nativeSidecar: this cluster is Kubernetes v1\.28\.3"):
        benched("container", {"kubernetes": "v1.28.3"})
    assert benched("container", {"kubernetes": "v1.28.3", "sidecar": {"nativeSidecar": False}})["name"] == "sidecar"


INJECTOR: list[tuple[Values, str]] = [
    ({"configs": {"shop": {"namespaces": ["shop"]}}}, "at '/configs/shop': missing property 'values'"),
    ({"configs": {"shop": {"namespaces": [], "values": {}}}}, "at '/configs/shop/namespaces': minItems"),
    ({"configs": {"Shop": {"namespaces": ["shop"], "values": {}}}}, "at '/configs'"),
    ({"configs": {"s": {"namespaces": ["s"], "values": {"replica": 1}}}}, "at '/configs/s/values': additional"),
    ({"configs": {"s": {"namespaces": ["s"], "values": {"socket": {"on": True}}}}}, "at '/configs/s/values/socket'"),
    ({"webhook": {"failurePolicy": "fail"}}, "at '/webhook/failurePolicy'"),
    ({"webhook": {"timeoutSeconds": 31}}, "at '/webhook/timeoutSeconds'"),
    ({"certificate": {"kind": "letsencrypt"}}, "at '/certificate/kind'"),
    ({"alerts": {"enabled": True}}, "alerts.runbookUrl: say where docs/runbook.md is published"),
    ({"certificate": {"kind": "supplied"}}, "certificate.secretName: name the Secret"),
    ({"certificate": {"kind": "supplied", "secretName": "s"}}, "certificate.caBundle: write the authority's"),
    ({"configs": {"s": {"namespaces": ["*"], "values": {}}}}, 'configs.s.namespaces: "*" does not say'),
    ({"configs": {"s": {"namespaces": ["shop"], "values": {}}}}, "configs.s.namespaces: shop is the injector's own"),
    (
        {"configs": {"s": {"namespaces": ["s"], "values": {"podMonitor": {"enabled": True}}}}},
        "podSelector: an injected pod has the labels of its own app",
    ),
    (
        {"configs": {"s": {"namespaces": ["s"], "values": {"terminationGracePeriodSeconds": 1}}}},
        "configs.s.values: these values do not fit together:\nterminationGracePeriodSeconds: 1 is too short",
    ),
    (
        {"configs": {"s": {"namespaces": ["s"], "values": laid(SQLITE, {"persistence": {"kind": "claimTemplate"}})}}},
        "persistence.kind: claimTemplate is a StatefulSet's to make",
    ),
]


@pytest.mark.parametrize(("values", "said"), INJECTOR)
def test_the_injector_refuses_with_the_path(values: Values, said: str) -> None:
    """Its own values, and those of each config, which are the chart sidecar's."""
    assert said in refusal("injector", values)


def test_a_fragment_s_values_are_held_to_the_same_sentences() -> None:
    """The injector and the dependency share the templates, so also what they refuse."""
    with pytest.raises(helm_python.HelmRenderError, match=r"config\.store\.path: state\.db is not below"):
        example_fragment(laid(SQLITE, {"config": {"store": {"path": "state.db"}}}))


def test_every_reference_of_the_config_is_found() -> None:
    """Those of sidecar.toml, where every key stands: what `sidecar check` takes for one, and nothing else."""
    path = ROOT / "sidecar.toml"
    named = [at for at, leaf in leaves(load(path)) if isinstance(leaf, SecretRef)]
    whole = {key: value for key, value in tables(path).items() if key != "secrets"}
    found = benched("references", {"data": json.loads(json.dumps(whole, default=str))})["references"]
    told = {sentence.partition(": ")[0].removeprefix("config.") for sentence in found}
    assert told == {re.sub(r"\[[0-9]+\]$", "", at) for at in named}  # Of several in a list the key is told.
    assert len(told) > 10


def keys_of_references(part: Any) -> Iterator[str]:
    """Give the keys below which a schema asks for a reference, or for a list of them."""
    if isinstance(part, dict):
        for key, inner in part.get("properties", {}).items():
            if "#/$defs/secret_ref" in alternatives(inner):
                yield key
        for inner in part.values():
            yield from keys_of_references(inner)
    elif isinstance(part, list):
        for inner in part:
            yield from keys_of_references(inner)


def alternatives(part: Any) -> list[str]:
    """Give the definitions that a value itself may be of, or an item of it, but not what is in a table."""
    if not isinstance(part, dict) or "properties" in part:
        return []
    inner = [part.get("items"), *part.get("oneOf", []), *part.get("anyOf", []), *part.get("allOf", [])]
    return [part.get("$ref", ""), *(found for each in inner for found in alternatives(each))]


def test_every_key_of_a_reference_is_known() -> None:
    """A new kind of auth has its keys here as well."""
    text = (HELM / "sidecar/templates/_problems.tpl").read_text()
    (listed,) = re.findall(r"\$names := list (.*) -", text)
    assert set(json.loads(f"[{listed.replace(' ', ',')}]")) == set(keys_of_references(schema()))
