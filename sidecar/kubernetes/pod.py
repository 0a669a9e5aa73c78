"""Pod: what the injector looks at of a pod; all else is skipped while it is read, and is not in memory."""

import msgspec


class MalformedPod(Exception):
    """What came is no pod; the sentence says why, and quotes nothing of it."""


class Port(msgspec.Struct, frozen=True, rename="camel"):
    """A port that a container says it listens on; the containers of a pod share one network."""

    container_port: int
    protocol: str | None = None

    @property
    def place(self) -> tuple[int, str]:
        """What only one of a pod's containers can have."""
        return self.container_port, self.protocol or "TCP"


class Mount(msgspec.Struct, frozen=True, rename="camel"):
    """A volume, and where a container sees it."""

    name: str
    mount_path: str

    @property
    def path(self) -> str:
        """The place, whichever way it is written."""
        return self.mount_path.rstrip("/") or "/"


class Container(msgspec.Struct, frozen=True, rename="camel"):
    """A container or init container."""

    name: str
    image: str | None = None
    restart_policy: str | None = None
    ports: list[Port] | None = None
    volume_mounts: list[Mount] | None = None


class Volume(msgspec.Struct, frozen=True):
    """A volume of the pod."""

    name: str


class Owner(msgspec.Struct, frozen=True):
    """Who made the pod."""

    kind: str


class Os(msgspec.Struct, frozen=True):
    """The operating system that the pod wants."""

    name: str = ""


class Metadata(msgspec.Struct, frozen=True, rename="camel"):
    """The pod's own; `name` is empty while there is a `generateName`, for the API server makes it later."""

    name: str = ""
    generate_name: str = ""
    annotations: dict[str, str] | None = None
    owner_references: list[Owner] | None = None


class Spec(msgspec.Struct, frozen=True, rename="camel"):
    """What the pod is to be."""

    containers: list[Container]
    init_containers: list[Container] | None = None
    volumes: list[Volume] | None = None
    restart_policy: str | None = None
    host_network: bool | None = None
    security_context: dict[str, msgspec.Raw] | None = None
    node_selector: dict[str, str] | None = None
    os: Os | None = None


class Pod(msgspec.Struct, frozen=True):
    """A pod that is about to be created."""

    metadata: Metadata
    spec: Spec

    @property
    def name(self) -> str:
        """What to call it: its name, or what the name will begin with."""
        return self.metadata.name or self.metadata.generate_name

    @property
    def all_containers(self) -> list[Container]:
        """Those that run first, and those that run then."""
        return [*(self.spec.init_containers or ()), *self.spec.containers]

    @property
    def is_to_end(self) -> bool:
        """Whether it is done when its containers are: a Job's, or one that is not started again."""
        by_job = any(owner.kind == "Job" for owner in self.metadata.owner_references or ())
        return by_job or (self.spec.restart_policy or "Always") != "Always"

    @property
    def is_windows(self) -> bool:
        """Whether it runs where no Linux container does."""
        named = self.spec.os.name if self.spec.os is not None else ""
        return "windows" in (named, (self.spec.node_selector or {}).get("kubernetes.io/os"))


_decode = msgspec.json.Decoder(Pod).decode


def read_pod(raw: msgspec.Raw) -> Pod:
    """Read a pod, which is JSON and not nested without end: that showed as its review was read. Raises MalformedPod."""
    try:
        return _decode(raw)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise MalformedPod(str(error)) from None
