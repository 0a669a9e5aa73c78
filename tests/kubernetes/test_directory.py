"""Fragments of all configs: read, kept while they are bad, gone with their files."""

import json
from pathlib import Path

from sidecar.kubernetes.decision import Configs
from sidecar.kubernetes.directory import CONFIGS_MAX, FRAGMENT_BYTES_MAX, files, read
from tests.kit.admission import fragment, fragment_data

NONE = Configs()


def write(directory: Path, name: str, text: str | None = None) -> Path:
    """Write a good fragment, or this text."""
    path = directory / f"{name}.json"
    path.write_text(json.dumps(fragment_data()) if text is None else text)
    return path


def test_each_file_is_a_config_by_its_name(tmp_path: Path) -> None:
    """What a ConfigMap's mount has besides is none: `..data`, and where it leads to."""
    write(tmp_path, "shop")
    write(tmp_path, "blog.v2")
    (tmp_path / "notes.txt").write_text("")
    (tmp_path / "..data").mkdir()
    (tmp_path / "..2026.json").mkdir()
    configs, problems = read(tmp_path, NONE)
    assert (dict(configs.good), problems) == ({"shop": fragment(), "blog.v2": fragment()}, [])
    assert configs.broken == frozenset()


def test_a_bad_file_keeps_its_config_as_it_was_and_the_others_go_on(tmp_path: Path) -> None:
    """All problems are told, each with the path of the file; one that was never good is known as broken."""
    path = write(tmp_path, "shop")
    before, _ = read(tmp_path, NONE)
    path.write_text('{"namespaces": [], "native": true}')
    other = write(tmp_path, "blog", "{")
    write(tmp_path, "fresh")
    configs, problems = read(tmp_path, before)
    assert configs.good.keys() == {"shop", "fresh"}
    assert configs.good["shop"] == fragment()
    assert configs.broken == {"blog"}
    assert [problem.split(": ")[:2] for problem in problems] == [
        [str(other), "this is not JSON"],
        [str(path), "container"],
        [str(path), "namespaces"],
    ]
    write(tmp_path, "shop")
    other.unlink()
    assert read(tmp_path, configs) == (Configs({"fresh": fragment(), "shop": fragment()}), [])


def test_a_file_that_went_takes_its_config_away(tmp_path: Path) -> None:
    """Somebody uninstalled it."""
    path = write(tmp_path, "shop")
    before, _ = read(tmp_path, NONE)
    path.unlink()
    assert read(tmp_path, before) == (NONE, [])


def test_a_directory_that_cannot_be_read_changes_nothing(tmp_path: Path) -> None:
    """A mount that is away for a moment is no wish to have no sidecars."""
    write(tmp_path, "shop")
    before, _ = read(tmp_path, NONE)
    gone = tmp_path / "gone"
    configs, problems = read(gone, before)
    assert configs is before
    assert problems == [f"{gone} cannot be read: No such file or directory; the configs read last stay"]


def test_what_is_no_file_or_too_large_is_a_problem(tmp_path: Path) -> None:
    """A ConfigMap has 1 MiB at most."""
    (tmp_path / "folder.json").mkdir()
    (tmp_path / "gone.json").symlink_to("nowhere")
    write(tmp_path, "large", " " * (FRAGMENT_BYTES_MAX + 1))
    configs, problems = read(tmp_path, NONE)
    assert configs.broken == {"folder", "gone", "large"}
    assert [problem.partition(": ")[2].partition(":")[0] for problem in problems] == [
        "cannot be read",
        "cannot be read",
        f"has more than {FRAGMENT_BYTES_MAX} bytes",
    ]


def test_there_are_so_many_configs_and_no_more(tmp_path: Path) -> None:
    """Those that come last are told."""
    for number in range(CONFIGS_MAX + 2):
        write(tmp_path, f"c{number:03}")
    configs, problems = read(tmp_path, NONE)
    assert len(configs.good) == CONFIGS_MAX
    last = files(tmp_path)[-2:]
    assert problems == [f"{path}: is left out: there are more than {CONFIGS_MAX} configs" for path in last]
