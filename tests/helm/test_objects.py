"""Objects around the pods: the way of webhooks, metrics, alerts; each is off until the values say so."""

import json

import pytest
import yaml

from sidecar.telemetry.table import TABLE
from tests.helm.charts import HELM, Values, complaints, laid, only, rendered

HOOKS: Values = {
    "config": {
        "store": {"kind": "sqlite"},
        "webhooks": {
            "stripe": {"provider": "stripe", "secret": "x:y"},
            "github": {"provider": "github", "secret": "x:y"},
        },
    },
    "secretVolumes": {"x": {"secret": {"secretName": "hooks"}}},
    "webhooks": {"service": {"enabled": True}},
}
LABEL = {"sidecar.dev/name": "app-sidecar"}


def test_a_newcomer_gets_the_config_and_nothing_else() -> None:
    """Each further object is asked for."""
    assert [each["kind"] for each in rendered("sidecar", {})] == ["ConfigMap"]


def test_as_a_library_it_makes_no_object() -> None:
    """As the injector's chart has it."""
    assert rendered("sidecar", {"renderObjects": False}) == []


def test_a_config_map_of_somebody_else_s_is_used() -> None:
    """Then none is made."""
    assert rendered("sidecar", {"existingConfigMap": "theirs"}) == []


def test_the_service_leads_to_the_door_by_its_number() -> None:
    """Of the pods with the label."""
    spec = only(rendered("sidecar", HOOKS), "Service")["spec"]
    assert spec["selector"] == LABEL
    assert [(each["port"], each["targetPort"]) for each in spec["ports"]] == [(80, 4003)]


def test_the_ingress_has_tls_and_a_path_for_each_webhook() -> None:
    """Exact ones, so that nothing else is led inside."""
    values = laid(HOOKS, {"webhooks": {"ingress": {"enabled": True, "host": "hooks.example", "tlsSecretName": "tls"}}})
    spec = only(rendered("sidecar", values), "Ingress")["spec"]
    assert spec["tls"] == [{"hosts": ["hooks.example"], "secretName": "tls"}]
    (rule,) = spec["rules"]
    assert [(each["path"], each["pathType"]) for each in rule["http"]["paths"]] == [
        ("/github", "Exact"),
        ("/stripe", "Exact"),
    ]
    backend = {"service": {"name": "app-sidecar-webhooks", "port": {"name": "http"}}}
    assert all(each["backend"] == backend for each in rule["http"]["paths"])


def test_the_gateway_s_route_takes_its_prefix_away() -> None:
    """The door knows /<name> alone."""
    route = {"enabled": True, "parentRefs": [{"name": "public"}], "hostnames": ["h"], "pathPrefix": "/hooks"}
    spec = only(rendered("sidecar", laid(HOOKS, {"webhooks": {"httpRoute": route}})), "HTTPRoute")["spec"]
    assert (spec["parentRefs"], spec["hostnames"]) == ([{"name": "public"}], ["h"])
    first = spec["rules"][0]
    assert first["matches"] == [{"path": {"type": "Exact", "value": "/hooks/github"}}]
    rewrite = {"path": {"type": "ReplaceFullPath", "replaceFullPath": "/github"}}
    assert first["filters"] == [{"type": "URLRewrite", "urlRewrite": rewrite}]
    assert first["backendRefs"] == [{"name": "app-sidecar-webhooks", "port": 80}]


def test_without_a_prefix_the_route_changes_nothing() -> None:
    """No filter that a Gateway may not know."""
    route = {"enabled": True, "parentRefs": [{"name": "public"}]}
    spec = only(rendered("sidecar", laid(HOOKS, {"webhooks": {"httpRoute": route}})), "HTTPRoute")["spec"]
    assert all("filters" not in each for each in spec["rules"])


def test_a_pod_monitor_reads_the_telemetry_port() -> None:
    """It finds ports of init containers, too."""
    objects = rendered("sidecar", {"podMonitor": {"enabled": True, "labels": {"release": "prometheus"}}})
    monitor = only(objects, "PodMonitor")
    assert monitor["metadata"]["labels"]["release"] == "prometheus"
    assert monitor["spec"]["selector"] == {"matchLabels": LABEL}
    assert monitor["spec"]["podMetricsEndpoints"] == [{"port": "telemetry", "path": "/metrics", "interval": "30s"}]


def test_a_service_monitor_has_its_service() -> None:
    """Headless, and with the pods that are not ready, of which one wants to know most."""
    objects = rendered("sidecar", {"serviceMonitor": {"enabled": True}})
    service, monitor = only(objects, "Service"), only(objects, "ServiceMonitor")
    assert service["spec"]["clusterIP"] == "None"
    assert service["spec"]["publishNotReadyAddresses"] is True
    assert service["spec"]["selector"] == LABEL
    assert monitor["spec"]["selector"]["matchLabels"].items() <= service["metadata"]["labels"].items()
    assert [each["port"] for each in monitor["spec"]["endpoints"]] == [
        each["name"] for each in service["spec"]["ports"]
    ]


# What Prometheus' operator says of every target; a metric's own label of such a name becomes exported_<name>.
OF_A_POD = {"namespace", "job", "instance", "pod", "container", "endpoint"}
OF_A_SERVICE = OF_A_POD | {"service"}


@pytest.mark.parametrize(
    ("monitor", "kind", "endpoints", "attached"),
    [
        ("podMonitor", "PodMonitor", "podMetricsEndpoints", OF_A_POD),
        ("serviceMonitor", "ServiceMonitor", "endpoints", OF_A_SERVICE),
    ],
)
def test_no_label_of_a_target_hides_one_of_our_metrics(
    monitor: str, kind: str, endpoints: str, attached: set[str]
) -> None:
    """Alerts and dashboard ask by `service`; a ServiceMonitor names the Service so, which is therefore dropped."""
    (endpoint,) = only(rendered("sidecar", {monitor: {"enabled": True}}), kind)["spec"][endpoints]
    dropped = {each["regex"] for each in endpoint.get("relabelings", []) if each["action"] == "labeldrop"}
    ours = {label for metric in TABLE for label in metric.labels}
    assert "service" in ours
    assert ours & (attached - dropped) == set()
    # What alerts are told apart by comes from both kinds.
    assert {"namespace", "job", "instance"} <= attached - dropped


RUNBOOK: Values = {"alerts": {"enabled": True, "runbookUrl": "https://docs.example/runbook.md"}}
ALERTS = (HELM / "sidecar/files/alerts.yaml").read_text()


def test_the_rule_is_the_file_with_the_alerts() -> None:
    """What promtool was asked about is what Prometheus gets, `{{ $labels }}` too; each leads to the runbook."""
    rule = only(rendered("sidecar", laid(RUNBOOK, {"alerts": {"labels": {"role": "alerts"}}})), "PrometheusRule")
    published = ALERTS.replace("https://runbook.invalid/runbook.md", "https://docs.example/runbook.md")
    assert published != ALERTS
    assert rule["spec"] == yaml.safe_load(published)
    assert rule["metadata"]["labels"]["role"] == "alerts"


def test_alerts_are_about_the_sidecars_that_are_selected() -> None:
    """Every selector of every expression."""
    values = laid(RUNBOOK, {"alerts": {"selector": 'namespace="shop"'}})
    rules = only(rendered("sidecar", values), "PrometheusRule")["spec"]
    assert str(rules).count('namespace="shop"') == str(yaml.safe_load(ALERTS)).count('job=~".+"') > 20
    assert 'job=~".+"' not in str(rules)


def test_an_alert_can_be_left_out() -> None:
    """For one with another threshold of one's own; a group without any goes, too."""

    def alerts(*without: str) -> list[str]:
        rule = only(rendered("sidecar", laid(RUNBOOK, {"alerts": {"leaveOut": list(without)}})), "PrometheusRule")
        assert all(group["rules"] for group in rule["spec"]["groups"])
        return [each["alert"] for group in rule["spec"]["groups"] for each in group["rules"] if "alert" in each]

    every = alerts()
    assert alerts(every[0]) == every[1:]
    assert alerts(*every[:-1]) == every[-1:]


def test_the_dashboard_is_the_file_with_grafana_s_label() -> None:
    """By which Grafana's sidecar finds it."""
    made = only(rendered("sidecar", {"dashboard": {"enabled": True}}), "ConfigMap", "app-sidecar-dashboard")
    assert json.loads(made["data"]["sidecar.json"]) == json.loads((HELM / "sidecar/files/dashboard.json").read_text())
    assert made["metadata"]["labels"]["grafana_dashboard"] == "1"


def test_names_that_yaml_takes_for_something_else_stay_text() -> None:
    """`on`, `n`, `1e3` and `null` are names that Kubernetes allows, and booleans, numbers and nothing in YAML."""
    values = laid(
        HOOKS,
        {
            "fullnameOverride": "on",
            "existingConfigMap": "",
            "serviceAccount": {"create": True, "name": "y"},
            "podMonitor": {"enabled": True},
            "serviceMonitor": {"enabled": True},
            "networkPolicy": {"enabled": True},
            "secretVolumes": {"n": {"csi": {"provider": "vault", "parameters": {"roleName": "1e3", "y": "null"}}}},
            "config": {"webhooks": {"on": {"provider": "stripe", "secret": "n:y"}}},
            "webhooks": {
                "ingress": {"enabled": True, "className": "1e3", "host": "0x1", "tlsSecretName": "null"},
                "httpRoute": {"enabled": True, "parentRefs": [{"name": "n"}]},
            },
        },
    )
    objects = rendered("sidecar", values, release="1e3", namespace="1e3")
    assert {each["metadata"]["namespace"] for each in objects} == {"1e3"}
    assert all(isinstance(each["metadata"]["name"], str) for each in objects)
    assert only(objects, "PodMonitor")["spec"]["selector"]["matchLabels"] == {"sidecar.dev/name": "on"}
    ingress = only(objects, "Ingress")["spec"]
    assert (ingress["ingressClassName"], ingress["tls"]) == ("1e3", [{"hosts": ["0x1"], "secretName": "null"}])
    assert only(objects, "SecretProviderClass")["spec"]["parameters"] == {"roleName": "1e3", "y": "null"}
    assert [found for each in objects for found in complaints(each, "1.29")] == []
