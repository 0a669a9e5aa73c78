"""A container without an engine: the image's root tree, read-only, with a pod's mounts, as its user and without rights.

What Kubernetes' *restricted* standard asks of a pod is done here by the tools it stands on: `unshare` for mounts of its
own, `setpriv` for the user, the capabilities and no_new_privs. Needs root. The network is the machine's own.
"""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

_SCRIPT = r"""
root=$1; shift
mount --bind "$root" "$root"
for each in "$@"; do
    [ "$each" = -- ] && break
    IFS=: read -r source target mode <<EOF
$each
EOF
    if [ -d "$source" ]; then mkdir -p "$root$target"; else touch "$root$target"; fi
done
mount -o remount,ro,bind "$root"
mount --bind /proc "$root/proc"
mount --bind /dev "$root/dev"
while [ "$1" != -- ]; do
    IFS=: read -r source target mode <<EOF
$1
EOF
    mount --bind "$source" "$root$target"
    mount -o "remount,bind,$mode" "$root$target"
    shift
done
shift
exec chroot "$root" "$@"
"""


def run_in(
    root: Path,
    command: Sequence[str],
    environment: Sequence[str],
    mounts: Mapping[str, tuple[Path, bool]],
    rights: Mapping[str, Any],
) -> list[str]:
    """Give the command that runs `command` in the tree; `mounts` are path: (where from, whether it is read-only).

    `rights` is the container's securityContext, of which nothing may be left out that is done here.
    """
    assert rights["readOnlyRootFilesystem"]
    assert rights["runAsNonRoot"]
    assert rights["allowPrivilegeEscalation"] is False
    assert rights["capabilities"] == {"drop": ["ALL"]}
    user, group = rights["runAsUser"], rights["runAsGroup"]
    said = [f"{source}:{target}:{'ro' if is_fixed else 'rw'}" for target, (source, is_fixed) in mounts.items()]
    for source, is_fixed in mounts.values():
        if not is_fixed:  # An emptyDir of a pod with this fsGroup.
            os.chown(source, 0, group)
            source.chmod(0o2770)
    return [
        "unshare", "--mount", "--propagation", "private", "sh", "-euc", _SCRIPT, "sh", str(root), *said, "--",
        "setpriv", f"--reuid={user}", f"--regid={group}", f"--groups={group}", "--bounding-set=-all",
        "--inh-caps=-all", "--no-new-privs", "env", "-i", *environment, *command,
    ]  # fmt: skip
