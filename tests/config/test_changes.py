"""What the watcher compares."""

from pathlib import Path

from sidecar.config.changes import Fingerprint, authorities, ca_files, fingerprint, sources
from sidecar.config.load import read_text

NAMES = ('"stripe"', '"acme"', '"acme"', '"../secret"', "1")


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


def test_every_ca_file_is_watched() -> None:
    """Once each: of services, of their and their routes' token endpoints, of secret stores; nothing called the same."""
    service = '[services.{}]\nbase_url = "https://a.example"\nca_file = "{}"\n'
    auth = (
        'auth = {{ kind = "oauth2_client_credentials", token_url = "https://a.example", client_auth = "none", {} }}\n'
    )
    config = read_text(
        service.format("a", "/x.pem")
        + auth.format('ca_file = "/v.pem", params = { ca_file = "/p.pem" }')
        + '[services.a.routes.r]\nmatch = "GET /x"\n'
        + auth.format('ca_file = "/r.pem"')
        + service.format("b", "/x.pem")
        + 'headers = { set = { ca_file = "/h.pem" } }\n'
        + service.format("c", "/w.pem")
        + '[secrets.f]\nkind = "file"\npath = "/s"\n'
        + '[secrets.g]\nkind = "gcp"\nproject = "production"\nca_file = "/g.pem"\n'
        + '[secrets.a]\nkind = "aws"\nca_file = "/s.pem"\n'
    )
    assert list(ca_files(config)) == [
        ("services.a.ca_file", "/x.pem"),
        ("services.b.ca_file", "/x.pem"),
        ("services.c.ca_file", "/w.pem"),
        ("services.a.auth.ca_file", "/v.pem"),
        ("services.a.routes.r.auth.ca_file", "/r.pem"),
        ("secrets.g.ca_file", "/g.pem"),
        ("secrets.a.ca_file", "/s.pem"),
    ]
    assert authorities(config) == tuple(Path(f"/{name}.pem") for name in "grsvwx")


def test_the_presets_of_the_user_that_a_config_names_are_watched_there_or_not(tmp_path: Path) -> None:
    """A file that comes later takes the place of the package's preset; a name that is none leads to no file."""
    path = tmp_path / "sidecar.toml"
    services = "".join(f"[services.s{i}]\nprovider = {name}\n" for i, name in enumerate(NAMES))
    path.write_text(f'[sidecar]\nproviders_dir = "own"\n{services}[services.plain]\nbase_url = "https://a.example"\n')
    before = sources(path)
    assert [mark.path for mark in before.files] == [
        str(path),
        *(f"{tmp_path}/own/{name}.toml" for name in ("acme", "stripe")),
    ]
    (tmp_path / "own").mkdir()
    (tmp_path / "own" / "stripe.toml").write_text("")
    assert sources(path).changed(before) == (f"{tmp_path}/own/stripe.toml",)


def test_a_config_that_is_no_toml_is_watched_by_itself(tmp_path: Path) -> None:
    """And one without a directory of the user's, too: the package's presets do not change while it runs."""
    path = tmp_path / "sidecar.toml"
    for text in ("[", '[services.a]\nprovider = "stripe"\n', "services = 1", "[services]\na = 1", "sidecar = 1"):
        path.write_text(text)
        assert [mark.path for mark in sources(path).files] == [str(path)]
    path.unlink()
    assert [mark.path for mark in sources(path).files] == [str(path)]
