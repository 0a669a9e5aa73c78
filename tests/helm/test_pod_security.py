"""The *restricted* Pod Security Standard, rule by rule: https://kubernetes.io/docs/concepts/security/pod-security-standards/.

Each rule is a function that gives what breaks it; beside it stands a pod that does. Restricted includes baseline.
"""

import copy
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.helm.charts import Object, all_containers, pod_templates
from tests.helm.shapes import SHAPES, objects_of

Rule = Callable[[Object], Iterator[object]]
Break = Callable[[Object], object]

RULES: dict[str, tuple[Rule, Break]] = {}

SAFE_SYSCTLS = {
    "kernel.shm_rmid_forced",
    "net.ipv4.ip_local_port_range",
    "net.ipv4.ip_unprivileged_port_start",
    "net.ipv4.tcp_syncookies",
    "net.ipv4.ping_group_range",
    "net.ipv4.ip_local_reserved_ports",
    "net.ipv4.tcp_keepalive_time",
    "net.ipv4.tcp_fin_timeout",
    "net.ipv4.tcp_keepalive_intvl",
    "net.ipv4.tcp_keepalive_probes",
}
VOLUMES = {
    "configMap",
    "csi",
    "downwardAPI",
    "emptyDir",
    "ephemeral",
    "persistentVolumeClaim",
    "projected",
    "secret",
}
SELINUX = {"", "container_t", "container_init_t", "container_kvm_t", "container_engine_t", None}


def rule(broken: Break) -> Callable[[Rule], Rule]:
    """Note a rule, and what breaks it."""

    def noted(found: Rule) -> Rule:
        RULES[found.__name__] = (found, broken)
        return found

    return noted


def security(pod: Object) -> Iterator[Object]:
    """Give the security context of each container, with what it takes from the pod's."""
    above = pod["spec"].get("securityContext", {})
    for container in all_containers(pod):
        yield {**above, **container.get("securityContext", {})}


def first(pod: Object) -> Any:
    """Give a container's security context, to break a rule in it."""
    return all_containers(pod)[0].setdefault("securityContext", {})


@rule(lambda pod: first(pod).update(windowsOptions={"hostProcess": True}))
def host_process(pod: Object) -> Iterator[object]:
    """Baseline: no Windows HostProcess."""
    return (each for each in security(pod) if each.get("windowsOptions", {}).get("hostProcess"))


@rule(lambda pod: pod["spec"].update(hostNetwork=True))
def host_namespaces(pod: Object) -> Iterator[object]:
    """Baseline: no namespace of the host."""
    return (key for key in ("hostNetwork", "hostPID", "hostIPC") if pod["spec"].get(key))


@rule(lambda pod: first(pod).update(privileged=True))
def privileged(pod: Object) -> Iterator[object]:
    """Baseline: no privileged container."""
    return (each for each in security(pod) if each.get("privileged"))


@rule(lambda pod: first(pod)["capabilities"].update(drop=[]))
def capabilities_dropped(pod: Object) -> Iterator[object]:
    """Restricted: each container drops all."""
    return (each for each in security(pod) if "ALL" not in each.get("capabilities", {}).get("drop", []))


@rule(lambda pod: first(pod)["capabilities"].update(add=["NET_RAW"]))
def capabilities_added(pod: Object) -> Iterator[object]:
    """Restricted: none is added but NET_BIND_SERVICE."""
    return (each for each in security(pod) if set(each.get("capabilities", {}).get("add", [])) - {"NET_BIND_SERVICE"})


@rule(lambda pod: pod["spec"]["volumes"].append({"name": "x", "hostPath": {"path": "/"}}))
def host_path(pod: Object) -> Iterator[object]:
    """Baseline: nothing of the host's disk."""
    return (each for each in pod["spec"]["volumes"] if "hostPath" in each)


@rule(lambda pod: pod["spec"]["volumes"].append({"name": "x", "nfs": {"server": "s", "path": "/"}}))
def volume_types(pod: Object) -> Iterator[object]:
    """Restricted: volumes of these types alone."""
    return (each for each in pod["spec"]["volumes"] if each.keys() - {"name"} - VOLUMES)


@rule(lambda pod: all_containers(pod)[0].update(ports=[{"containerPort": 1, "hostPort": 1}]))
def host_ports(pod: Object) -> Iterator[object]:
    """Baseline: no port of the host."""
    return (port for each in all_containers(pod) for port in each.get("ports", []) if port.get("hostPort"))


@rule(lambda pod: all_containers(pod)[0].update(livenessProbe={"httpGet": {"port": 1, "host": "169.254.169.254"}}))
def host_of_probes(pod: Object) -> Iterator[object]:
    """Baseline: probes and hooks name no host, by which the kubelet would ask elsewhere."""
    for each in all_containers(pod):
        handlers = [each[key] for key in ("startupProbe", "readinessProbe", "livenessProbe") if key in each]
        handlers += each.get("lifecycle", {}).values()
        yield from (by for by in handlers for how in ("httpGet", "tcpSocket") if by.get(how, {}).get("host"))


@rule(lambda pod: first(pod).update(appArmorProfile={"type": "Unconfined"}))
def app_armor(pod: Object) -> Iterator[object]:
    """Baseline: AppArmor is not switched off."""
    allowed = {"RuntimeDefault", "Localhost", None}
    return (each for each in security(pod) if each.get("appArmorProfile", {}).get("type") not in allowed)


@rule(lambda pod: first(pod).update(seLinuxOptions={"type": "spc_t"}))
def se_linux(pod: Object) -> Iterator[object]:
    """Baseline: no SELinux type, user or role of one's own."""
    for each in security(pod):
        options = each.get("seLinuxOptions", {})
        if options.get("type") not in SELINUX or options.get("user") or options.get("role"):
            yield each


@rule(lambda pod: first(pod).update(procMount="Unmasked"))
def proc_mount(pod: Object) -> Iterator[object]:
    """Baseline: /proc as the runtime masks it."""
    return (each for each in security(pod) if each.get("procMount", "Default") != "Default")


@rule(lambda pod: first(pod).update(seccompProfile={"type": "Unconfined"}))
def seccomp(pod: Object) -> Iterator[object]:
    """Restricted: a profile is named, for each container."""
    allowed = {"RuntimeDefault", "Localhost"}
    return (each for each in security(pod) if each.get("seccompProfile", {}).get("type") not in allowed)


@rule(
    lambda pod: pod["spec"].setdefault("securityContext", {}).update(sysctls=[{"name": "kernel.msgmax", "value": ""}])
)
def sysctls(pod: Object) -> Iterator[object]:
    """Baseline: only those that touch nobody else."""
    found = pod["spec"].get("securityContext", {}).get("sysctls", [])
    return (each for each in found if each["name"] not in SAFE_SYSCTLS)


@rule(lambda pod: first(pod).pop("allowPrivilegeEscalation"))
def privilege_escalation(pod: Object) -> Iterator[object]:
    """Restricted: false is written."""
    return (each for each in security(pod) if each.get("allowPrivilegeEscalation") is not False)


@rule(lambda pod: first(pod).update(runAsNonRoot=False))
def run_as_non_root(pod: Object) -> Iterator[object]:
    """Restricted: true is written, for each container."""
    return (each for each in security(pod) if each.get("runAsNonRoot") is not True)


@rule(lambda pod: first(pod).update(runAsUser=0))
def run_as_user(pod: Object) -> Iterator[object]:
    """Restricted: not as 0."""
    return (each for each in security(pod) if each.get("runAsUser") == 0)


PODS = [(shape, name) for shape in SHAPES for name, _ in pod_templates(list(objects_of(shape)))]


def pod_of(shape: str, name: str) -> Object:
    """Give a pod template of a shape, to keep."""
    return copy.deepcopy(dict(pod_templates(list(objects_of(shape))))[name])


@pytest.mark.parametrize(("shape", "name"), PODS)
@pytest.mark.parametrize("named", RULES)
def test_every_pod_obeys(named: str, shape: str, name: str) -> None:
    """Each rule, in each pod of each shape."""
    found, _ = RULES[named]
    assert list(found(pod_of(shape, name))) == []


@pytest.mark.parametrize("named", RULES)
def test_a_rule_finds_what_breaks_it(named: str) -> None:
    """A rule that finds nothing proves nothing."""
    found, broken = RULES[named]
    pod = pod_of("app-staging", "Deployment/app")
    broken(pod)
    assert list(found(pod)) != []


@pytest.mark.parametrize(("shape", "name"), PODS)
def test_the_root_is_read_only_and_processes_are_not_shared(shape: str, name: str) -> None:
    """Beyond the standard: of our own containers; `shareProcessNamespace` is never needed."""
    pod = pod_of(shape, name)
    own = [each for each in all_containers(pod) if each["name"] in {"sidecar", "injector"}]
    assert len(own) == 1
    assert own[0]["securityContext"]["readOnlyRootFilesystem"] is True
    assert "shareProcessNamespace" not in pod["spec"]


@pytest.mark.parametrize(("shape", "name"), PODS)
def test_no_pod_has_the_api_server_s_token_by_itself(shape: str, name: str) -> None:
    """What needs one names it, with an audience and an end."""
    assert pod_of(shape, name)["spec"]["automountServiceAccountToken"] is False
