"""Who gets a sidecar, and what those are told who get none."""

from typing import Any

import pytest

from sidecar.kubernetes.decision import CONTAINERS_MAX
from sidecar.kubernetes.fragment import Fragment
from tests.kit.admission import INJECT, OWN, STATUS, Json, about, fragment, names, review_of
from tests.kubernetes.injected import Asked

# What becomes of each review where the config `shop` is native and for the namespace `shop`.
RESULTS = {
    "pod": "injected",
    "dry-run": "injected",
    "deployment": "injected",
    "deployment-restricted": "injected",
    "init-containers": "injected",
    "job": "injected",
    "cronjob": "injected",
    "statefulset": "injected",
    "not-asked": "not_asked",
    "no-annotations": "not_asked",
    "own-namespace": "own_namespace",
    "sidecar-by-chart": "already",
    "host-network": "host_network",
    "windows": "windows",
    "update": "not_a_pod",
    "delete": "not_a_pod",
    "eviction": "not_a_pod",
    "of-a-deployment": "not_a_pod",
}
TOLD = {"host_network", "windows"}


def test_every_review_is_told_here() -> None:
    """None is forgotten."""
    assert names() == sorted(RESULTS)


@pytest.mark.parametrize("name", names())
def test_what_becomes_of_a_pod(name: str) -> None:
    """A patch for those who asked, a warning for those who asked in vain, silence for all others; and a count."""
    asked, result = Asked(), RESULTS[name]
    response = asked.ask(review_of(name))
    assert ("patch" in response) == (result == "injected")
    assert ("warnings" in response) == (result in TOLD)
    assert sum(asked.count(result, config) for config in ("", "shop")) == 1


def pod(**changes: Any) -> Json:
    """A Deployment's pod with other annotations, or other keys of its spec."""
    found: Json = review_of("deployment")["request"]["object"]
    if "annotations" in changes:
        found["metadata"]["annotations"] = changes.pop("annotations")
    found["spec"] |= changes
    return found


def one_warning(response: Json) -> str:
    """The only one; it says first of all what was not done."""
    assert "patch" not in response
    (warning,) = response["warnings"]
    start = "no sidecar was added: "
    assert warning.startswith(start)
    return str(warning.removeprefix(start))


@pytest.mark.parametrize("value", ["", "false"])
def test_a_pod_may_say_no(value: str) -> None:
    """As one that says nothing."""
    asked = Asked()
    assert "patch" not in asked.ask(about(pod(annotations={INJECT: value})))
    assert asked.count("not_asked") == 1


def test_a_pod_that_was_injected_is_left_alone() -> None:
    """By its status, whoever set it, and by the name of a container, of either kind."""
    asked = Asked()
    asked.ask(about(pod(annotations={INJECT: "shop", STATUS: "injected"})))
    sidecar = {"name": "sidecar", "image": "mine"}
    app = review_of("deployment")["request"]["object"]["spec"]["containers"]
    asked.ask(about(pod(containers=[*app, sidecar])))
    asked.ask(about(pod(initContainers=[sidecar])))
    assert asked.count("already", "shop") == 3


def test_an_unknown_config_is_told_with_those_that_the_namespace_may_use() -> None:
    """The names of others are nobody's business; and three are enough."""
    configs = {
        name: fragment(namespaces=("*",) if name != "hidden" else ("else",)) for name in ("a", "b", "c", "d", "hidden")
    }
    told = one_warning(Asked(**configs).ask(about(pod(annotations={INJECT: "shpo"}))))
    assert told == "there is no config 'shpo'; known for this namespace: a, b, c, ..."
    told = one_warning(Asked(hidden=configs["hidden"]).ask(about(pod(annotations={INJECT: "true"}))))
    assert told == "there is no config 'true'; known for this namespace: none"


@pytest.mark.parametrize(
    ("value", "shown"),
    [("x" * 5000, f"'{'x' * 63}...'"), ("a\x1b[31m\nb", r"'a\x1b[31m\nb'"), ("\u202eevil", r"'\u202eevil'")],
)
def test_what_somebody_wrote_is_shown_short_and_harmless(value: str, shown: str) -> None:
    """Of a warning 256 characters arrive, on somebody's terminal; a metric has no label of it."""
    asked = Asked()
    assert shown in one_warning(asked.ask(about(pod(annotations={INJECT: value}))))
    assert asked.count("unknown_config") == 1
    assert (asked.lines[0]["level"], asked.lines[0]["result"]) == ("warning", "unknown_config")


def test_a_config_that_was_never_good_is_told_as_such() -> None:
    """It is there, so `there is no config` would send people to the wrong place."""
    asked = Asked("shop", other=fragment())
    assert (
        one_warning(asked.ask(review_of("deployment"))) == "the config shop has problems; the injector's log tells them"
    )
    assert asked.count("broken_config") == 1


def test_a_config_is_for_the_namespace_of_the_request() -> None:
    """Not for the one that the object names, which its author writes."""
    asked = Asked(shop=fragment(namespaces=("shop",)))
    review = review_of("deployment")
    review["request"]["namespace"] = "elsewhere"
    told = one_warning(asked.ask(review))
    assert told == "the config shop is not for the namespace elsewhere"
    assert asked.count("namespace_not_allowed", "shop") == 1
    del review["request"]["object"]["metadata"]["namespace"]
    review["request"]["namespace"] = "shop"
    assert "patch" in asked.ask(review)
    anywhere = Asked(shop=fragment(namespaces=("*",)))
    review["request"]["namespace"] = "elsewhere"
    assert "patch" in anywhere.ask(review)


def test_a_pod_of_thousands_of_containers_gets_nothing_for_each_of_them() -> None:
    """It is judged by the API server only after us: an answer of a hundred megabytes would end the injector."""
    asked = Asked()
    many = [{"name": "a"}] * (CONTAINERS_MAX + 1)
    assert "more than 1000 containers" in one_warning(asked.ask(about(pod(containers=many))))
    assert asked.count("malformed_pod", "shop") == 1
    assert "patch" in asked.ask(about(pod(containers=many[1:])))


def test_names_of_any_length_make_no_line_of_any_length() -> None:
    """A pod's name is judged after us, too."""
    asked = Asked()
    found = pod()
    found["metadata"]["name"] = "x" * 10_000
    asked.ask(about(found))
    assert asked.lines[0]["pod"] == "x" * 253


def test_the_own_namespace_is_left_alone_even_by_a_config_for_all() -> None:
    """The injector's own pods must come up without an injector."""
    asked = Asked(shop=fragment(namespaces=("*",)))
    response = asked.ask(about(pod(), namespace=OWN))
    assert response.keys() == {"uid", "allowed"}


@pytest.mark.parametrize("name", ["job", "cronjob"])
def test_a_plain_sidecar_is_kept_out_of_a_pod_that_is_to_end(name: str) -> None:
    """It would never end, and its Job neither; a native one ends with the app."""
    asked = Asked(shop=fragment(native=False))
    assert "never would" in one_warning(asked.ask(review_of(name)))
    assert asked.count("plain_in_job", "shop") == 1


@pytest.mark.parametrize("policy", ["Never", "OnFailure"])
def test_a_pod_without_a_job_that_is_not_started_again_is_to_end_too(policy: str) -> None:
    """Whatever made it."""
    plain = Asked(shop=fragment(native=False))
    assert "never would" in one_warning(plain.ask(about(pod(restartPolicy=policy))))
    assert "patch" in Asked().ask(about(pod(restartPolicy=policy)))


@pytest.mark.parametrize(
    "os", [{"os": {"name": "windows"}}, {"nodeSelector": {"kubernetes.io/os": "windows"}}], ids=["os", "nodeSelector"]
)
def test_a_pod_for_windows_is_known_by_either_field(os: Json) -> None:
    """The image is for Linux."""
    assert "Windows" in one_warning(Asked().ask(about(pod(**os))))


def test_a_mirror_of_a_static_pod_is_told_and_left_alone() -> None:
    """It runs already, without us; and the API server refuses a mirror that names a ConfigMap."""
    asked = Asked()
    annotations = {INJECT: "shop", "kubernetes.io/config.mirror": "5f2f9c1d", "kubernetes.io/config.source": "file"}
    assert "static pods" in one_warning(asked.ask(about(pod(annotations=annotations))))
    assert asked.count("static_pod", "shop") == 1


def test_a_volume_of_the_same_name_is_told() -> None:
    """Two volumes of one name would have the API server refuse the pod."""
    told = one_warning(Asked().ask(about(pod(volumes=[{"name": "sidecar-state", "emptyDir": {}}]))))
    assert told == "the pod has a volume sidecar-state of its own"


@pytest.mark.parametrize(
    ("port", "is_taken"),
    [
        ({"containerPort": 4002, "protocol": "TCP"}, True),
        ({"containerPort": 4003}, True),
        ({"containerPort": 4002, "protocol": "UDP"}, False),
        ({"containerPort": 4004, "protocol": "TCP"}, False),
    ],
)
@pytest.mark.parametrize("kind", ["containers", "initContainers"])
def test_a_port_that_the_app_has_is_told(port: Json, is_taken: bool, kind: str) -> None:
    """The containers of a pod share one network: whoever comes second would not start."""
    asked = Asked()
    response = asked.ask(about(pod(**{kind: [{"name": "app", "image": "i", "ports": [port]}]})))
    assert ("patch" not in response) == is_taken
    if is_taken:
        assert one_warning(response) == f"port {port['containerPort']} is taken by the container 'app'"


@pytest.mark.parametrize(
    "malformed",
    [
        None,
        7,
        [],
        "pod",
        {},
        {"metadata": {}},
        {"metadata": {}, "spec": {}},
        {"metadata": {"annotations": {INJECT: 1}}, "spec": {"containers": []}},
        {"metadata": {"annotations": [INJECT]}, "spec": {"containers": []}},
        {"metadata": {}, "spec": {"containers": [{}]}},
        {"metadata": {}, "spec": {"containers": [{"name": "a", "ports": [{"containerPort": "x"}]}]}},
        {"metadata": {}, "spec": {"containers": "none"}},
    ],
)
def test_a_malformed_pod_is_allowed_with_a_warning(malformed: object) -> None:
    """To refuse it is the API server's part."""
    asked = Asked()
    assert one_warning(asked.ask(about(malformed))).startswith("the pod cannot be read: ")
    assert asked.count("malformed_pod") == 1


def test_a_fault_of_the_injectors_own_keeps_no_pod_from_starting(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is told in a line with the place, and to whoever asked."""

    def broken(_: Fragment, namespace: str) -> bool:
        raise RuntimeError(namespace)

    monkeypatch.setattr(Fragment, "may_be_in", broken)
    asked = Asked()
    assert one_warning(asked.ask(review_of("deployment"))) == "the injector failed; its log tells where"
    assert asked.count("internal") == 1
    assert (asked.lines[0]["msg"], asked.lines[0]["error"]) == ("internal", "RuntimeError")


def test_a_line_tells_whose_pod_it_was() -> None:
    """A pod that a controller makes has no name yet, so it is called by what its name will begin with."""
    asked = Asked()
    asked.ask(review_of("deployment"))
    asked.ask(review_of("dry-run"))
    asked.ask(review_of("not-asked"))
    first, second, third = asked.lines
    pod_name = review_of("deployment")["request"]["object"]["metadata"]["generateName"]
    assert (first["level"], first["msg"], first["config"]) == ("info", "injected", "shop")
    assert (first["namespace"], first["pod"], first["dry_run"]) == ("shop", pod_name, False)
    assert (second["pod"], second["dry_run"]) == ("app", True)
    assert (third["level"], third["msg"]) == ("debug", "not_injected")
