"""The shapes in which the charts are shown and tested: every example, with every values file that there is for it."""

from functools import cache

from tests.helm.charts import Object, rendered, values_of

APP = "examples/app/values"
INJECTED = "examples/injected/injector-values"

# Name: (chart, values files, release, namespace).
SHAPES: dict[str, tuple[str, tuple[str, ...], str, str]] = {
    "sidecar": ("sidecar", (), "app", "shop"),
    "sidecar-staging": ("sidecar", ("sidecar/values-staging.yaml",), "app", "shop"),
    "sidecar-production": ("sidecar", ("sidecar/values-production.yaml",), "app", "shop"),
    "app-staging": ("examples/app", (f"{APP}-staging.yaml",), "app", "shop"),
    "app-production": ("examples/app", (f"{APP}-production.yaml",), "app", "shop"),
    "app-statefulset": ("examples/app", (f"{APP}-staging.yaml", f"{APP}-statefulset.yaml"), "app", "shop"),
    "app-plain": ("examples/app", (f"{APP}-staging.yaml", f"{APP}-plain.yaml"), "app", "shop"),
    "injector": ("injector", (), "injector", "sidecar-system"),
    "injector-staging": (
        "injector",
        (f"{INJECTED}.yaml", f"{INJECTED}-staging.yaml"),
        "sidecar-injector",
        "sidecar-system",
    ),
    "injector-production": (
        "injector",
        (f"{INJECTED}.yaml", f"{INJECTED}-production.yaml"),
        "sidecar-injector",
        "sidecar-system",
    ),
}


@cache
def objects_of(shape: str) -> tuple[Object, ...]:
    """Render a shape. What is given is shared: copy before you change it."""
    chart, files, release, namespace = SHAPES[shape]
    return tuple(rendered(chart, values_of(*files), release, namespace))
