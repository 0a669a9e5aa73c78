"""What the chart puts into a pod, and in which order it starts and ends."""

import pytest

from tests.helm.charts import (
    Object,
    Values,
    all_containers,
    benched,
    example_pod,
    laid,
    rendered,
    sidecar_of,
)
from tests.helm.charts import only as only_

PLAIN: Values = {"nativeSidecar": False}
SQLITE: Values = {"config": {"store": {"kind": "sqlite"}}}
API_TOKEN = "/var/run/secrets/kubernetes.io/serviceaccount"
VAULT: Values = {
    "config": {
        "secrets": {
            "main": {
                "kind": "vault",
                "address": "https://vault.example:8200",
                "auth": {"method": "kubernetes", "role": "sidecar"},
            }
        }
    }
}


def volume(pod: Object, name: str) -> Object:
    """Give a volume of a pod."""
    (found,) = [each for each in pod["spec"]["volumes"] if each["name"] == name]
    return dict(found)


def volumes(pod: Object) -> set[str]:
    """Give the names of a pod's volumes."""
    return {each["name"] for each in pod["spec"]["volumes"]}


def mounts(pod: Object) -> dict[str, str]:
    """Give what the sidecar mounts, by its place."""
    return {each["mountPath"]: each["name"] for each in sidecar_of(pod)["volumeMounts"]}


def checksum(values: Values) -> str:
    """Give the annotation by which a Deployment replaces its pods."""
    found: str = example_pod(values)["metadata"]["annotations"]["sidecar.dev/checksum"]
    return found


def test_a_native_sidecar_is_the_first_init_container_and_starts_again_always() -> None:
    """So it is ready before the app, and before the app's own init containers; it ends after the app; Jobs end."""
    pod = example_pod({})
    assert pod["spec"]["initContainers"][0]["name"] == "sidecar"
    assert sidecar_of(pod)["restartPolicy"] == "Always"
    assert "lifecycle" not in sidecar_of(pod)
    assert [each["name"] for each in pod["spec"]["containers"]] == ["app"]


def test_the_startup_probe_of_a_native_sidecar_gates_the_app() -> None:
    """The kubelet starts what comes next when it has succeeded: when the sidecar is ready for calls, every second."""
    probe = sidecar_of(example_pod({}))["startupProbe"]
    assert probe["httpGet"] == {"path": "/readyz", "port": "telemetry", "scheme": "HTTP"}
    assert probe["periodSeconds"] == 1


def test_a_plain_container_waits_in_pre_stop_while_the_app_ends() -> None:
    """All containers get SIGTERM at once, and the app goes on calling."""
    pod = example_pod({**PLAIN, "appShutdownSeconds": 12})
    assert "initContainers" not in pod["spec"]
    assert "restartPolicy" not in sidecar_of(pod)
    assert sidecar_of(pod)["lifecycle"] == {"preStop": {"sleep": {"seconds": 12}}}


@pytest.mark.parametrize(
    ("version", "hook"),
    [("v1.29.9", {"exec": {"command": ["sleep", "25"]}}), ("v1.30.0", {"sleep": {"seconds": 25}})],
)
def test_pre_stop_needs_no_program_where_kubernetes_can_wait_itself(version: str, hook: Values) -> None:
    """From 1.30 on; an older API server would drop the field and refuse the pod."""
    container = benched("container", {"kubernetes": version, "sidecar": PLAIN})
    assert container["lifecycle"]["preStop"] == hook


def test_probes_ask_the_telemetry_port() -> None:
    """By its name, which is that of the port in the config."""
    container = sidecar_of(example_pod({"config": {"listen": {"telemetry": "[::]:9100"}}}))
    ports = {each["name"]: each["containerPort"] for each in container["ports"]}
    assert ports == {"telemetry": 9100}
    asked = {key: container[key]["httpGet"]["path"] for key in container if key.endswith("Probe")}
    assert asked == {"startupProbe": "/readyz", "readinessProbe": "/readyz", "livenessProbe": "/livez"}


def test_the_webhooks_port_is_there_where_vendors_call() -> None:
    """And not where nothing listens."""
    hooks: Values = {
        "config": {
            "store": {"kind": "valkey", "url": "redis://v"},
            "webhooks": {"a": {"provider": "stripe", "secret": "x:y"}},
        },
        "secretVolumes": {"x": {"secret": {"secretName": "x"}}},
    }
    ports = sidecar_of(example_pod(hooks))["ports"]
    assert [(each["name"], each["containerPort"]) for each in ports] == [("telemetry", 4002), ("webhooks", 4003)]


def test_the_container_runs_the_image_s_command_on_the_mounted_config() -> None:
    """The directory is mounted, never one file of it: a `subPath` would never change."""
    pod = example_pod({})
    container = sidecar_of(pod)
    assert container["args"] == ["run", "-c", "/etc/sidecar/sidecar.toml"]
    assert "command" not in container
    assert mounts(pod)["/etc/sidecar"] == "sidecar-config"
    assert all("subPath" not in each for each in container["volumeMounts"])


def test_the_pod_has_time_for_the_app_the_drain_and_the_close() -> None:
    """25 + 25 + 5 s fit into the default of 60 s."""
    assert example_pod({})["spec"]["terminationGracePeriodSeconds"] == 60
    longer: Values = {"config": {"sidecar": {"drain_timeout": "90s"}}, "terminationGracePeriodSeconds": 120}
    assert example_pod(longer)["spec"]["terminationGracePeriodSeconds"] == 120


def test_replicas_are_the_pods_of_the_app_and_of_the_config() -> None:
    """They stand in one place."""
    objects = rendered("examples/bare", {"sidecar": {"replicas": 7}})
    assert only_(objects, "Deployment")["spec"]["replicas"] == 7
    assert "replicas = 7" in only_(objects, "ConfigMap")["data"]["sidecar.toml"]


def test_with_an_autoscaler_replicas_are_its_maximum() -> None:
    """A pod is not told how many there are, so the limit is divided by the most there can be."""
    objects = rendered("examples/bare", {"sidecar": {"replicas": 7}, "autoscaling": {"enabled": True}})
    assert "replicas" not in only_(objects, "Deployment")["spec"]
    assert only_(objects, "HorizontalPodAutoscaler")["spec"]["maxReplicas"] == 7
    assert "replicas = 7" in only_(objects, "ConfigMap")["data"]["sidecar.toml"]


# State.


def test_without_a_store_on_disk_there_is_no_volume_for_it() -> None:
    """In memory, and with Valkey alone."""
    for config in ({}, {"store": {"kind": "valkey", "url": "redis://v"}}):
        assert "sidecar-state" not in volumes(example_pod({"config": config}))


def test_sqlite_is_kept_in_an_empty_dir_that_outlives_the_container() -> None:
    """Its size is bounded; the config names the place."""
    pod = example_pod(SQLITE)
    assert volume(pod, "sidecar-state")["emptyDir"] == {"sizeLimit": "1Gi"}
    assert mounts(pod)["/var/lib/sidecar"] == "sidecar-state"
    objects = rendered("examples/bare", {"sidecar": SQLITE})
    assert 'path = "/var/lib/sidecar/state.db"' in only_(objects, "ConfigMap")["data"]["sidecar.toml"]


def test_a_fallback_is_kept_on_disk_too() -> None:
    """Valkey with a file for the time without it."""
    config = {"store": {"kind": "valkey", "url": "redis://v", "fallback": "sqlite"}}
    assert "sidecar-state" in volumes(example_pod({"config": config}))


def test_a_claim_template_makes_a_volume_for_each_pod() -> None:
    """The StatefulSet makes it, under the name that the container mounts; a group makes it writable."""
    values = {"kind": "StatefulSet", "sidecar": laid(SQLITE, {"persistence": {"kind": "claimTemplate", "size": "3Gi"}})}
    spec = only_(rendered("examples/bare", values), "StatefulSet")["spec"]
    (claim,) = spec["volumeClaimTemplates"]
    assert claim["metadata"]["name"] == "sidecar-state"
    assert claim["spec"] == {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "3Gi"}}}
    assert "sidecar-state" not in volumes(spec["template"])
    assert mounts(spec["template"])["/var/lib/sidecar"] == "sidecar-state"
    assert spec["template"]["spec"]["securityContext"]["fsGroup"] == 65532


def test_an_existing_claim_is_mounted() -> None:
    """By one pod."""
    pod = example_pod(laid(SQLITE, {"persistence": {"kind": "existingClaim", "claimName": "state"}}))
    assert volume(pod, "sidecar-state")["persistentVolumeClaim"] == {"claimName": "state"}


# The socket.


def test_the_socket_is_shared_with_the_app_which_cannot_replace_it() -> None:
    """One volume, read-only for the app; a group lets another user open the socket."""
    pod = example_pod({"socket": {"enabled": True}})
    (app,) = [each for each in all_containers(pod) if each["name"] == "app"]
    assert app["volumeMounts"] == [{"name": "sidecar-socket", "mountPath": "/run/sidecar", "readOnly": True}]
    assert mounts(pod)["/run/sidecar"] == "sidecar-socket"
    assert pod["spec"]["securityContext"]["fsGroup"] == 65532
    text = only_(rendered("examples/bare", {"sidecar": {"socket": {"enabled": True}}}), "ConfigMap")["data"][
        "sidecar.toml"
    ]
    assert 'egress = ["127.0.0.1:4000", "unix:/run/sidecar/egress.sock"]' in text


def test_without_socket_and_claim_the_pod_s_group_is_left_alone() -> None:
    """And the app's container mounts nothing of ours."""
    pod = example_pod({})
    assert "fsGroup" not in pod["spec"]["securityContext"]
    assert "volumeMounts" not in all_containers(pod)[-1]


# Secrets and tokens.


def test_a_secret_volume_is_a_store_of_its_name_for_the_sidecar_alone() -> None:
    """Mounted at a place of its own, readable by the sidecar's user whatever group the pod has, writable by nobody."""
    values: Values = {"secretVolumes": {"vendors": {"secret": {"secretName": "s"}}}}
    pod = example_pod(values)
    assert volume(pod, "sidecar-secret-vendors")["secret"] == {"secretName": "s", "defaultMode": 0o444}
    assert mounts(pod)["/etc/sidecar-secrets/vendors"] == "sidecar-secret-vendors"
    assert "volumeMounts" not in all_containers(pod)[-1]
    text = only_(rendered("examples/bare", {"sidecar": values}), "ConfigMap")["data"]["sidecar.toml"]
    assert '[secrets.vendors]\nkind = "file"\npath = "/etc/sidecar-secrets/vendors"\n' in text


def test_a_csi_volume_is_one_too_with_its_class() -> None:
    """Of a class that is made here, or one that exists."""
    csi = {"provider": "aws", "parameters": {"objects": "- objectName: crm"}, "nodePublishSecretName": "n"}
    values: Values = {"secretVolumes": {"made": {"csi": csi}, "old": {"csi": {"secretProviderClass": "c"}}}}
    pod = example_pod(values)
    assert volume(pod, "sidecar-secret-made")["csi"] == {
        "driver": "secrets-store.csi.k8s.io",
        "readOnly": True,
        "volumeAttributes": {"secretProviderClass": "sidecar-shop-made"},
        "nodePublishSecretRef": {"name": "n"},
    }
    assert volume(pod, "sidecar-secret-old")["csi"]["volumeAttributes"] == {"secretProviderClass": "c"}
    made = only_(rendered("examples/bare", {"sidecar": values}), "SecretProviderClass")
    assert made["spec"] == {"provider": "aws", "parameters": {"objects": "- objectName: crm"}}


def test_no_service_account_token_without_a_store_that_asks_for_one() -> None:
    """Something else is mounted where Kubernetes would put it, so that it does not, in an injected pod either."""
    pod = example_pod({})
    assert mounts(pod)[API_TOKEN] == "sidecar-api-token"
    assert "downwardAPI" in volume(pod, "sidecar-api-token")
    assert "serviceAccountToken" not in str(pod["spec"]["volumes"])


def test_a_vault_by_kubernetes_gets_a_token_for_the_sidecar_alone() -> None:
    """Where it looks for it, with the audience of the role."""
    pod = example_pod(laid(VAULT, {"vaultToken": {"audience": "vault"}}))
    (source,) = volume(pod, "sidecar-api-token")["projected"]["sources"]
    assert source == {"serviceAccountToken": {"path": "token", "expirationSeconds": 3600, "audience": "vault"}}
    assert "volumeMounts" not in all_containers(pod)[-1]
    (source,) = volume(example_pod(VAULT), "sidecar-api-token")["projected"]["sources"]
    assert "audience" not in source["serviceAccountToken"]


def test_further_tokens_are_where_the_config_names_them() -> None:
    """At /var/run/tokens/<name>."""
    pod = example_pod({"tokens": {"warehouse": {"audience": "https://sts"}}})
    assert mounts(pod)["/var/run/tokens"] == "sidecar-tokens"
    (source,) = volume(pod, "sidecar-tokens")["projected"]["sources"]
    assert source == {
        "serviceAccountToken": {"path": "warehouse", "audience": "https://sts", "expirationSeconds": 3600}
    }


@pytest.mark.parametrize(
    ("aws", "audience", "names"),
    [
        (
            {"roleArn": "arn:aws:iam::123456789012:role/r"},
            "sts.amazonaws.com",
            {"AWS_REGION", "AWS_ROLE_ARN", "AWS_WEB_IDENTITY_TOKEN_FILE"},
        ),
        (
            {"podIdentity": True},
            "pods.eks.amazonaws.com",
            {"AWS_REGION", "AWS_CONTAINER_CREDENTIALS_FULL_URI", "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE"},
        ),
    ],
)
def test_aws_knows_the_sidecar_and_not_the_app(aws: Values, audience: str, names: set[str]) -> None:
    """IRSA and pod identity: token and environment, as AWS's SDKs look for them, in our container alone."""
    pod = example_pod({"aws": {**aws, "region": "eu-central-1"}})
    (source,) = volume(pod, "sidecar-tokens")["projected"]["sources"]
    assert source["serviceAccountToken"]["audience"] == audience
    environment = {each["name"]: each.get("value") for each in sidecar_of(pod)["env"]}
    assert {name for name in environment if name.startswith("AWS_")} == names
    assert "/var/run/tokens/aws" in environment.values()
    assert "AWS" not in str(all_containers(pod)[-1])


def test_the_service_account_carries_what_a_cloud_reads() -> None:
    """Workload identity by annotation; the pods run as it."""
    values = {"sidecar": {"serviceAccount": {"create": True, "annotations": {"iam.gke.io/gcp-service-account": "a@p"}}}}
    objects = rendered("examples/bare", values)
    made = only_(objects, "ServiceAccount")
    assert made["metadata"]["annotations"] == {"iam.gke.io/gcp-service-account": "a@p"}
    assert made["automountServiceAccountToken"] is False
    assert only_(objects, "Deployment")["spec"]["template"]["spec"]["serviceAccountName"] == made["metadata"]["name"]


def test_who_the_pod_is_goes_into_the_audit_log() -> None:
    """By the downward API."""
    env = {each["name"]: each["valueFrom"]["fieldRef"]["fieldPath"] for each in sidecar_of(example_pod({}))["env"]}
    assert env == {
        "POD_NAME": "metadata.name",
        "POD_NAMESPACE": "metadata.namespace",
        "POD_SERVICE_ACCOUNT": "spec.serviceAccountName",
    }


# What replaces pods.


def test_a_reload_is_enough_for_most_changes() -> None:
    """The running sidecar loads them; pods are replaced only for what it refuses to reload."""
    before = checksum({"config": {"sidecar": {"environment": "staging"}}})
    assert checksum({"config": {"sidecar": {"environment": "staging"}, "log": {"level": "debug"}}}) == before
    assert checksum({"config": {"sidecar": {"environment": "production"}}}) != before
    assert checksum(laid(SQLITE, {"config": {"sidecar": {"environment": "staging"}}})) != before


def test_any_change_replaces_pods_where_that_is_wished() -> None:
    """The checksum is then that of all that is mounted from the ConfigMap."""
    roll: Values = {"rollOnChange": True}
    before = checksum(roll)
    assert checksum(roll) == before
    assert checksum({**roll, "config": {"log": {"level": "debug"}}}) != before
    assert checksum({**roll, "files": {"ca.pem": "x"}}) != before


def test_files_beside_the_config_are_mounted_with_it() -> None:
    """Also those of a folder, such as presets of one's own."""
    values: Values = {"files": {"providers/acme.toml": "x = 1\n", "ca.pem": "c"}}
    data = only_(rendered("examples/bare", {"sidecar": values}), "ConfigMap")["data"]
    assert data.keys() == {"sidecar.toml", "providers--acme.toml", "ca.pem"}
    assert volume(example_pod(values), "sidecar-config")["configMap"]["items"] == [
        {"key": "sidecar.toml", "path": "sidecar.toml"},
        {"key": "ca.pem", "path": "ca.pem"},
        {"key": "providers--acme.toml", "path": "providers/acme.toml"},
    ]


def test_routes_keep_the_order_that_was_said() -> None:
    """Helm sorts keys, and the first route that matches wins."""
    routes = {name: {"match": f"GET /{name}"} for name in ("a", "b", "c")}
    values = {"config": {"services": {"crm": {"base_url": "https://c.example", "routes": routes}}}}
    objects = rendered("examples/bare", {"sidecar": {**values, "routeOrder": {"crm": ["c", "a", "b"]}}})
    text = only_(objects, "ConfigMap")["data"]["sidecar.toml"]
    assert text.index("routes.c]") < text.index("routes.a]") < text.index("routes.b]")
