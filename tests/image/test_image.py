"""The image as it was built: what is in it, what is not, and a pod's container of it from start to end."""

import importlib.metadata
import stat
from pathlib import Path

import aiohttp

from sidecar import __version__
from tests.helm.charts import laid
from tests.helm.loopback import KEY, SECRETS, Values, container_of, text_of, values_for
from tests.image.conftest import Image
from tests.kit.app import App
from tests.kit.container import run_in
from tests.kit.kubelet import telemetry_url
from tests.kit.mount import Mount
from tests.kit.process import Process
from tests.kit.vendor import Vendor

USER = 65532
SIZE_MAX = 150 * 2**20  # On top of the base.


class Contained(Process):
    """The container that the chart renders, in the image's root tree, with all that it mounts."""

    def __init__(self, image: Image, folder: Path, values: Values) -> None:
        written = folder / "written"
        written.mkdir()
        super().__init__(written, "")
        container = container_of(values)
        mounts: dict[str, tuple[Path, bool]] = {"/etc/hosts": (Path("/etc/hosts"), True)}  # As the kubelet does.
        for mount in container["volumeMounts"]:
            place = folder / mount["name"]
            place.mkdir()
            mounts[mount["mountPath"]] = (place, mount.get("readOnly", False))
        self.settings = Mount(mounts["/etc/sidecar"][0])
        self.settings.write({"sidecar.toml": text_of(values)})
        for path, files in SECRETS.items():
            Mount(mounts[path][0]).write(files)
        self.state = mounts["/var/lib/sidecar"][0]
        command = [*image.config["Entrypoint"], *container["args"]]
        self._command = run_in(image.root, command, image.config["Env"], mounts, container["securityContext"])
        self.telemetry_url = telemetry_url(container)


def rights(pid: int) -> dict[str, str]:
    """Give what the kernel says of a process: whose it is, what it may."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return dict(line.split(":\t", 1) for line in lines if ":\t" in line)


def mounts_of(pid: int) -> dict[str, str]:
    """Give the mounts that a process sees, with `ro` or `rw`."""
    mounts = [line.split() for line in Path(f"/proc/{pid}/mountinfo").read_text().splitlines()]
    return {mount[4]: mount[5].split(",")[0] for mount in mounts}


async def test_a_container_of_it_starts_serves_and_ends_as_a_pods_does(image: Image, tmp_path: Path) -> None:
    """Read-only, as nobody, without a capability; its probes, a call with the mounted key, SIGTERM."""
    async with Vendor.echoing() as vendor:
        values, egress = values_for(vendor)
        async with Contained(image, tmp_path, values) as sidecar:
            said = rights(sidecar.pid)
            assert set(said["Uid"].split()) == set(said["Gid"].split()) == {str(USER)}
            assert {said[name] for name in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb")} == {"0" * 16}
            assert said["NoNewPrivs"] == "1"
            modes = mounts_of(sidecar.pid)
            wanted = {"/": "ro", "/etc/sidecar": "ro", "/etc/sidecar-secrets/vendors": "ro", "/var/lib/sidecar": "rw"}
            assert modes | wanted == modes
            async with aiohttp.ClientSession(sidecar.telemetry_url) as session:
                for path in ("/livez", "/readyz", "/metrics"):
                    async with session.get(path) as answer:
                        assert answer.status == 200, path
            for address in (f"http://127.0.0.1:{egress}", f"unix:{tmp_path}/sidecar-socket/egress.sock"):
                async with App.to(address) as app:
                    assert (await app.ask("GET", "/crm/v1/things")).status == 200
                assert vendor.requests[-1].values("Authorization") == [f"Bearer {KEY}".encode()]
            assert (sidecar.state / "state.db").stat().st_uid == USER
    assert sidecar.exit_code == 0
    assert sidecar.errors == b""
    assert sidecar.lines[-1]["step"] == "close"


async def test_a_config_map_that_changes_is_read_without_a_restart(image: Image, tmp_path: Path) -> None:
    """As the kubelet changes it: a new folder, and `..data` swapped."""
    async with Vendor.echoing() as vendor:
        values, _ = values_for(vendor)
        async with Contained(image, tmp_path, values) as sidecar:
            changed = text_of(laid(values, {"config": {"log": {"level": "debug"}}}))
            sidecar.settings.write({"sidecar.toml": changed})
            line = await sidecar.wait_for_line(lambda line: line.get("generation") == 2, "the next config")
            assert (line["msg"], line["services"]) == ("config_loaded", ["crm"])


def test_it_says_what_it_is_and_runs_as_a_number(image: Image) -> None:
    """Kubernetes' runAsNonRoot judges a number only; the labels are those of the OCI annotations."""
    assert image.config["User"] == f"{USER}:{USER}"
    assert image.command == ["sidecar", "run", "-c", "/etc/sidecar/sidecar.toml"]
    assert set(image.config["ExposedPorts"]) == {"4000/tcp", "4001/tcp", "4002/tcp", "4003/tcp"}
    labels = image.config["Labels"]
    assert labels["org.opencontainers.image.title"] == "sidecar"
    assert labels["org.opencontainers.image.version"] == __version__
    assert len(labels["org.opencontainers.image.revision"]) == 40
    assert labels["org.opencontainers.image.base.name"].endswith("-slim")


def test_what_a_plain_container_needs_to_let_the_app_end_first_is_there(image: Image) -> None:
    """Its preStop runs `sleep`, below Kubernetes 1.30, which has an action for that."""
    assert (image.root / "usr/bin/sleep").exists()


def test_nothing_in_it_installs_or_compiles(image: Image) -> None:
    """No pip, no compiler."""
    found = [
        path
        for folder in ("usr/bin", "usr/local/bin", "bin", "opt/sidecar/bin")
        for name in ("pip*", "cc", "gcc*", "c++", "make")
        for path in (image.root / folder).glob(name)
    ]
    assert found == []
    assert list(image.packages.glob("pip*")) == []


def test_its_user_may_write_nothing_and_nothing_of_ours_gives_rights(image: Image) -> None:
    """All that we add is root's, and neither setuid nor setgid."""
    for path in image.root.joinpath("opt/sidecar").rglob("*"):
        if not path.is_symlink():
            found = path.stat()
            assert found.st_uid == 0, path
            assert not found.st_mode & (stat.S_IWGRP | stat.S_IWOTH | stat.S_ISUID | stat.S_ISGID), path


def test_the_program_is_whole_compiled_and_has_its_bytecode(image: Image) -> None:
    """Bytecode for every module, so that a read-only pod starts as fast each time; the hot path as C extensions."""
    sources = list(image.packages.joinpath("sidecar").rglob("*.py"))
    assert len(sources) > 300
    for source in sources:
        assert list((source.parent / "__pycache__").glob(f"{source.stem}.*.pyc")), source
    assert list(image.packages.joinpath("sidecar/downstream").glob("connection.*.so"))
    assert list(image.packages.glob("*__mypyc*.so"))


def test_what_is_installed_is_what_the_lock_says(image: Image) -> None:
    """Each distribution in its pinned version, and no other."""
    lock = Path(__file__).parents[2] / "requirements.lock"
    pinned = dict(
        line.split(" ")[0].split("==") for line in lock.read_text().splitlines() if "==" in line and line[0].isalpha()
    )
    installed = {
        found.metadata["Name"].lower().replace("_", "-"): found.version
        for found in importlib.metadata.distributions(path=[str(image.packages)])
    }
    assert installed.pop("sidecar") == __version__
    assert installed.items() <= pinned.items()
    assert {"aiohttp", "uvloop", "msgspec"} <= installed.keys()


def test_it_is_no_larger_than_is_said(image: Image) -> None:
    """What we put on top of the base; the Dockerfile names the figure."""
    ours = image.root / "opt/sidecar"
    assert sum(path.lstat().st_size for path in ours.rglob("*") if not path.is_dir()) < SIZE_MAX
