"""A mounted volume of a ConfigMap or Secret, as the kubelet keeps it: links through `..data`, swapped in one step."""

from collections.abc import Mapping
from pathlib import Path


class Mount:
    """Its folder; made when it is not there."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._turn = 0
        path.mkdir(exist_ok=True)

    def write(self, files: Mapping[str, str | bytes]) -> None:
        """Swap all that is there for these files. Whoever has the pod's group may read them."""
        self._turn += 1
        fresh = self.path / f"..2026_{self._turn}"
        fresh.mkdir(mode=0o755)
        for name, content in files.items():
            (fresh / name).write_bytes(content if isinstance(content, bytes) else content.encode())
            (fresh / name).chmod(0o644)
        link = self.path / "..data_tmp"
        link.symlink_to(fresh.name)
        link.replace(self.path / "..data")
        for name in files:
            if not (self.path / name).is_symlink():
                (self.path / name).symlink_to(f"..data/{name}")
        for stale in self.path.iterdir():
            if stale.is_symlink() and not stale.exists():
                stale.unlink()
