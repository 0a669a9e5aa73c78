"""What the watcher compares."""

from pathlib import Path

from sidecar.config.changes import Fingerprint, fingerprint, watched
from sidecar.config.load import read_text


def test_a_file_that_is_left_alone_did_not_change(tmp_path: Path) -> None:
    """Two looks at the same file are equal."""
    path = tmp_path / "sidecar.toml"
    path.write_text("")
    assert fingerprint([path]).changed(fingerprint([path])) == ()


def test_the_swap_of_a_mounted_config_map_is_seen(tmp_path: Path) -> None:
    """Kubernetes swaps the `..data` link; the path and even size stay the same."""
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "sidecar.toml").write_text(name)
    (tmp_path / "..data").symlink_to("one")
    path = tmp_path / "sidecar.toml"
    path.symlink_to("..data/sidecar.toml")
    before = fingerprint([path])
    (tmp_path / "..data_tmp").symlink_to("two")
    (tmp_path / "..data_tmp").rename(tmp_path / "..data")
    assert fingerprint([path]).changed(before) == (str(path),)


def test_files_that_come_and_go_are_changes_and_no_errors(tmp_path: Path) -> None:
    """A missing file is part of the picture."""
    path = tmp_path / "ca.pem"
    missing = fingerprint([path])
    assert fingerprint([path]).changed(missing) == ()
    path.write_text("x")
    there = fingerprint([path])
    assert there.changed(missing) == (str(path),)
    path.unlink()
    assert fingerprint([path]).changed(there) == (str(path),)


def test_a_file_that_is_named_anew_is_a_change(tmp_path: Path) -> None:
    """The set of files belongs to the picture."""
    path = tmp_path / "ca.pem"
    assert fingerprint([path]).changed(Fingerprint(())) == (str(path),)


def test_the_config_and_every_ca_file_are_watched() -> None:
    """Once each; without a config there is only its file."""
    path = Path("sidecar.toml")
    service = '[services.{}]\nbase_url = "https://a.example"\nca_file = "{}"\n'
    config = read_text(service.format("a", "/x.pem") + service.format("b", "/x.pem") + service.format("c", "/w.pem"))
    assert watched(path, config) == (path, Path("/w.pem"), Path("/x.pem"))
    assert watched(path, None) == (path,)
