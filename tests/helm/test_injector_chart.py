"""The chart of the injector: what it runs, whom it is asked about, and its certificate."""

import base64
from datetime import UTC, datetime
from typing import Any

import pytest
import yaml
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import padding
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey

from sidecar.config.load import read_text
from tests.helm.charts import (
    HELM,
    Object,
    Values,
    benched,
    configs,
    example_fragment,
    fragments,
    laid,
    only,
    rendered,
    values_of,
)

MANAGED: Values = {"certificate": {"kind": "certManager"}}
SHOP: Values = {"config": {"sidecar": {"environment": "staging"}}}


def objects_of(values: Values) -> list[Object]:
    """Render the chart as it would be installed; with a certificate of cert-manager's, which costs no time."""
    return rendered("injector", laid(MANAGED, values), "injector", "sidecar-system")


def webhook(values: Values) -> Object:
    """Give the one webhook of the configuration."""
    (found,) = only(objects_of(values), "MutatingWebhookConfiguration")["webhooks"]
    return dict(found)


def shop(*namespaces: str, **values: Any) -> Values:
    """Give values with one config."""
    return {"configs": {"shop": {"namespaces": list(namespaces), "values": {**SHOP, **values}}}}


def test_two_replicas_run_the_command() -> None:
    """With what is mounted, and the namespace that is skipped."""
    spec = only(objects_of({}), "Deployment")["spec"]
    assert spec["replicas"] == 2
    (container,) = spec["template"]["spec"]["containers"]
    assert container["args"] == [
        "injector",
        "--configs",
        "/etc/sidecar-injector/configs",
        "--certificate",
        "/etc/sidecar-injector/tls/tls.crt",
        "--key",
        "/etc/sidecar-injector/tls/tls.key",
        "--listen",
        "0.0.0.0:8443",
        "--namespace",
        "sidecar-system",
    ]
    places = {each["mountPath"]: each["name"] for each in container["volumeMounts"]}
    assert places == {"/etc/sidecar-injector/configs": "configs", "/etc/sidecar-injector/tls": "tls"}


def test_probes_go_over_tls() -> None:
    """There is one port, and it speaks TLS."""
    (container,) = only(objects_of({}), "Deployment")["spec"]["template"]["spec"]["containers"]
    probes = [container[key]["httpGet"] for key in container if key.endswith("Probe")]
    assert len(probes) == 3
    assert {(each["port"], each["scheme"]) for each in probes} == {("https", "HTTPS")}


def test_it_has_no_rights_in_the_cluster() -> None:
    """No role, no token."""
    objects = objects_of({})
    assert not {"Role", "RoleBinding", "ClusterRole", "ClusterRoleBinding"} & {each["kind"] for each in objects}
    assert only(objects, "ServiceAccount")["automountServiceAccountToken"] is False


def test_it_is_asked_about_new_pods_alone_and_has_no_side_effects() -> None:
    """So that a dry run is asked about, too."""
    found = webhook({})
    assert found["rules"] == [
        {
            "apiGroups": [""],
            "apiVersions": ["v1"],
            "resources": ["pods"],
            "operations": ["CREATE"],
            "scope": "Namespaced",
        }
    ]
    assert found["sideEffects"] == "None"
    assert found["admissionReviewVersions"] == ["v1"]
    assert found["matchPolicy"] == "Equivalent"
    assert found["timeoutSeconds"] == 5
    service = {"name": "injector", "namespace": "sidecar-system", "path": "/inject", "port": 443}
    assert found["clientConfig"]["service"] == {**service, "name": "injector-sidecar-injector"}


def test_it_refuses_nothing_unless_it_is_told_to() -> None:
    """`failurePolicy` is a value."""
    assert webhook({})["failurePolicy"] == "Ignore"
    assert webhook({"webhook": {"failurePolicy": "Fail"}})["failurePolicy"] == "Fail"


def test_its_own_namespace_and_the_cluster_s_are_never_asked_about() -> None:
    """A cluster whose injector is away can still start it."""
    own = {"key": "kubernetes.io/metadata.name", "operator": "NotIn", "values": ["sidecar-system", "kube-system"]}
    assert webhook({})["namespaceSelector"]["matchExpressions"] == [own]


def test_only_namespaces_of_configs_are_asked_about() -> None:
    """So that an injector that is away delays nobody else."""
    known = webhook(shop("shop", "erp"))["namespaceSelector"]["matchExpressions"][1]
    assert known == {"key": "kubernetes.io/metadata.name", "operator": "In", "values": ["erp", "shop"]}
    anywhere = webhook(shop("*", existingConfigMap="sidecar"))["namespaceSelector"]["matchExpressions"]
    assert len(anywhere) == 1


def test_labels_can_narrow_what_is_asked() -> None:
    """Annotations cannot: Kubernetes selects by labels alone."""
    found = webhook({"webhook": {"objectSelector": {"matchLabels": {"sidecar": "yes"}}}})
    assert found["objectSelector"] == {"matchLabels": {"sidecar": "yes"}}
    assert "objectSelector" not in webhook({})


def test_each_namespace_gets_the_config() -> None:
    """Under the name that the fragment mounts; and the sidecar takes it."""
    objects = objects_of(shop("shop", "erp"))
    maps = [each for each in objects if each["kind"] == "ConfigMap" and "sidecar.toml" in each["data"]]
    assert [(each["metadata"]["namespace"], each["metadata"]["name"]) for each in maps] == [
        ("shop", "sidecar-shop-config"),
        ("erp", "sidecar-shop-config"),
    ]
    assert all(read_text(text).sidecar.environment == "staging" for _, text in configs(objects))
    (config,) = [each for each in fragments(shop("shop", "erp"))["shop"]["volumes"] if each["name"] == "sidecar-config"]
    assert config["configMap"]["name"] == "sidecar-shop-config"


def test_a_fragment_has_what_was_agreed_and_nothing_else() -> None:
    """The program refuses a key that it does not know."""
    assert example_fragment({}, namespaces=("shop", "erp")).keys() == {
        "namespaces",
        "native",
        "container",
        "volumes",
        "annotations",
        "appVolumeMounts",
        "podSecurityContext",
    }


def test_false_in_a_config_s_values_wins_over_the_default() -> None:
    """As in Helm itself; sprig's merge lets the default win."""
    found = example_fragment({"nativeSidecar": False, "resources": {"limits": {"memory": None}}})
    assert found["native"] is False
    assert found["container"]["resources"]["limits"] == {}


def test_the_image_is_the_injector_s_unless_a_config_says_another() -> None:
    """One image for both."""
    values = laid({"image": {"repository": "r.example/sidecar", "tag": "7"}}, shop("shop"))
    assert fragments(values)["shop"]["container"]["image"] == "r.example/sidecar:7"
    other = laid(values, shop("shop", image={"tag": "8"}))
    assert fragments(other)["shop"]["container"]["image"] == "r.example/sidecar:8"


def test_objects_around_the_pods_go_into_their_namespace() -> None:
    """With the labels of the app."""
    values = values_of("examples/injected/injector-values.yaml", "examples/injected/injector-values-production.yaml")
    objects = rendered("injector", values, "sidecar-injector", "sidecar-system")
    policy = only(objects, "NetworkPolicy", "sidecar-shop")
    assert policy["metadata"]["namespace"] == "shop"
    assert policy["spec"]["podSelector"] == {"matchLabels": {"app": "shop"}}
    assert only(objects, "PodMonitor", "sidecar-shop")["metadata"]["namespace"] == "shop"


def test_a_changed_config_replaces_the_injector_s_pods() -> None:
    """So that both serve the same fragments."""

    def note(values: Values) -> str:
        template = only(objects_of(values), "Deployment")["spec"]["template"]
        return str(template["metadata"]["annotations"]["sidecar.dev/checksum"])

    assert note(shop("shop")) == note(shop("shop"))
    assert note(shop("shop")) != note(shop("shop", socket={"enabled": True}))


def test_its_network_policy_lets_nothing_out() -> None:
    """It asks nobody."""
    spec = only(objects_of({"networkPolicy": {"enabled": True}}), "NetworkPolicy")["spec"]
    assert spec["ingress"] == [{"ports": [{"protocol": "TCP", "port": 8443}]}]
    assert spec["egress"] == []
    assert spec["policyTypes"] == ["Ingress", "Egress"]


def test_its_budget_keeps_one_replica() -> None:
    """While nodes are drained."""
    assert only(objects_of({}), "PodDisruptionBudget")["spec"]["maxUnavailable"] == 1
    off = objects_of({"podDisruptionBudget": {"enabled": False}})
    assert "PodDisruptionBudget" not in {each["kind"] for each in off}


def test_its_metrics_are_read_over_tls() -> None:
    """By the name in the certificate, since a pod is asked by its address."""
    (endpoint,) = only(objects_of({"podMonitor": {"enabled": True}}), "PodMonitor")["spec"]["podMetricsEndpoints"]
    assert (endpoint["port"], endpoint["scheme"]) == ("https", "https")
    assert endpoint["tlsConfig"] == {
        "serverName": "injector-sidecar-injector.sidecar-system.svc",
        "ca": {"secret": {"name": "injector-sidecar-injector-tls", "key": "ca.crt"}},
    }


def test_its_alerts_are_those_of_its_file() -> None:
    """With the runbook's place and what is left out, as in the chart sidecar."""
    text = (HELM / "injector/files/alerts.yaml").read_text()
    known = [rule["alert"] for group in yaml.safe_load(text)["groups"] for rule in group["rules"]]
    alerts = {"enabled": True, "runbookUrl": "https://docs.example/runbook.md", "leaveOut": known[:1]}
    rule = only(objects_of({"alerts": alerts}), "PrometheusRule")
    found = [each for group in rule["spec"]["groups"] for each in group["rules"]]
    assert [each["alert"] for each in found] == known[1:]
    assert all(each["annotations"]["runbook_url"].startswith("https://docs.example/runbook.md#") for each in found)


# The certificate.


def certificate(encoded: str) -> x509.Certificate:
    """Read a certificate as it stands in a Secret."""
    return x509.load_pem_x509_certificate(base64.b64decode(encoded))


def test_the_chart_s_certificate_is_for_the_service_and_signed_by_its_authority() -> None:
    """And the API server is told that authority."""
    objects = rendered("injector", {}, "injector", "sidecar-system")
    secret = only(objects, "Secret")
    authority, own = certificate(secret["data"]["ca.crt"]), certificate(secret["data"]["tls.crt"])
    key = authority.public_key()
    assert isinstance(key, RSAPublicKey)
    assert own.signature_hash_algorithm is not None
    key.verify(own.signature, own.tbs_certificate_bytes, padding.PKCS1v15(), own.signature_hash_algorithm)
    names = own.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert "injector-sidecar-injector.sidecar-system.svc" in names.get_values_for_type(x509.DNSName)
    assert (own.not_valid_after_utc - datetime.now(UTC)).days > 3640
    (found,) = only(objects, "MutatingWebhookConfiguration")["webhooks"]
    assert found["clientConfig"]["caBundle"] == secret["data"]["ca.crt"]


def test_a_certificate_that_exists_is_kept() -> None:
    """Over upgrades: `lookup` finds the Secret, and nothing is made anew."""
    existing = {"ca.crt": "YQ==", "tls.crt": "Yg==", "tls.key": "Yw=="}
    assert benched("certificate", {"certificate": {"data": existing}}) == existing
    without = {key: value for key, value in existing.items() if key != "tls.key"}
    assert benched("certificate", {"certificate": {"data": without}}).keys() == existing.keys()


def test_cert_manager_makes_one_and_tells_the_api_server() -> None:
    """By its annotation; with an Issuer of the chart's, or one that is named."""
    objects = objects_of({})
    made = only(objects, "Certificate")["spec"]
    assert made["issuerRef"] == {"kind": "Issuer", "name": only(objects, "Issuer")["metadata"]["name"]}
    assert "Secret" not in {each["kind"] for each in objects}
    config = only(objects, "MutatingWebhookConfiguration")
    assert config["metadata"]["annotations"] == {
        "cert-manager.io/inject-ca-from": "sidecar-system/injector-sidecar-injector"
    }
    assert "caBundle" not in config["webhooks"][0]["clientConfig"]
    named = objects_of({"certificate": {"issuerRef": {"kind": "ClusterIssuer", "name": "house"}}})
    assert "Issuer" not in {each["kind"] for each in named}
    assert only(named, "Certificate")["spec"]["issuerRef"] == {"kind": "ClusterIssuer", "name": "house"}


def test_a_supplied_certificate_is_mounted() -> None:
    """And its authority told."""
    values = {"certificate": {"kind": "supplied", "secretName": "theirs", "caBundle": "PEM"}}
    objects = rendered("injector", values, "injector", "sidecar-system")
    tls = only(objects, "Deployment")["spec"]["template"]["spec"]["volumes"][1]
    assert tls == {"name": "tls", "secret": {"secretName": "theirs", "defaultMode": 0o444}}
    (found,) = only(objects, "MutatingWebhookConfiguration")["webhooks"]
    assert found["clientConfig"]["caBundle"] == base64.b64encode(b"PEM").decode()


@pytest.mark.parametrize("name", ["app.yaml"])
def test_the_injected_example_asks_for_a_config_that_there_is(name: str) -> None:
    """Its annotation names one, in a namespace that may use it."""
    known = values_of("examples/injected/injector-values.yaml")["configs"]
    for each in yaml.safe_load_all((HELM / "examples/injected" / name).read_text()):
        template = each["spec"].get("template") or each["spec"]["jobTemplate"]["spec"]["template"]
        asked = template["metadata"]["annotations"]["sidecar.dev/inject"]
        assert each["metadata"]["namespace"] in known[asked]["namespaces"]
        assert template["spec"]["terminationGracePeriodSeconds"] >= 25 + 25 + 5
