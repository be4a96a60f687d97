"""What needs no server: the files of deploy/jupyterhub fit each other, and the page says what they set."""

import grp
import json
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
from traitlets.config import Config

ROOT = Path(__file__).resolve().parents[2]
DEPLOY = ROOT / "deploy" / "jupyterhub"
PAGE = (ROOT / "book" / "jupyterhub.md").read_text()
SCRIPT = (DEPLOY / "install.sh").read_text()


def loaded(monkeypatch: pytest.MonkeyPatch, systemd: bool) -> Any:
    """The hub's configuration, on a machine that systemd runs or not."""
    config = Config()
    monkeypatch.setattr(grp, "getgrnam", lambda name: grp.struct_group((name, "", 10**6, ["hana"])))
    usual = Path.is_dir
    monkeypatch.setattr(Path, "is_dir", lambda self: systemd if str(self) == "/run/systemd/system" else usual(self))
    monkeypatch.setattr(Path, "exists", lambda self: False)
    file = DEPLOY / "jupyterhub_config.py"
    exec(compile(file.read_text(), file, "exec"), {"get_config": lambda: config})
    return config


def test_the_limits_are_those_of_the_page_and_of_a_spawner_that_makes_them_bind(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    config = loaded(monkeypatch, systemd=True)
    assert config.JupyterHub.spawner_class == "systemd"
    limits = (
        config.Spawner.mem_limit,
        config.Spawner.cpu_limit,
        config.SystemdSpawner.unit_extra_properties["TasksMax"],
    )
    assert limits == ("2G", 1, "512")
    assert "It may take 2 GB of memory, one core and 512 processes" in PAGE
    (culler,) = config.JupyterHub.services
    kernels = json.loads((DEPLOY / "students" / "jupyter_server_config.json").read_text())["MappingKernelManager"]
    assert "--timeout=3600" in culler["command"] and kernels["cull_idle_timeout"] == 3600
    assert "nobody has used for an hour" in PAGE


def test_a_machine_without_systemd_says_that_nothing_is_limited(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert loaded(monkeypatch, systemd=False).JupyterHub.spawner_class != "systemd"
    assert "memory and cores of students' servers are not limited" in capsys.readouterr().err


def test_the_hub_is_reached_from_this_machine_only_and_by_two_groups(monkeypatch: pytest.MonkeyPatch) -> None:
    config = loaded(monkeypatch, systemd=True)
    assert config.JupyterHub.bind_url == "http://127.0.0.1:8000" and config.JupyterHub.hub_ip == "127.0.0.1"
    assert config.PAMAuthenticator.allowed_groups == {"students", "instructors"}
    assert config.JupyterHub.load_groups == {"instructors": {"users": ["hana", "instructor"]}}
    assert "allow_all" not in (DEPLOY / "jupyterhub_config.py").read_text()


def test_the_script_is_one_and_installs_files_that_are_there() -> None:
    subprocess.run(["sh", "-n", DEPLOY / "install.sh"], check=True)
    named = re.findall(r"\$HERE/([\w./-]*\w)", SCRIPT)
    assert len(named) > 8
    assert [name for name in named if not (DEPLOY / name).exists()] == []
    assert (DEPLOY / "install.sh").stat().st_mode & 0o111


def test_every_file_of_settings_is_valid() -> None:
    for file in DEPLOY.rglob("*.json"):
        json.loads(file.read_text())
    lock = json.loads((DEPLOY / "package-lock.json").read_text())
    wanted = json.loads((DEPLOY / "package.json").read_text())["dependencies"]
    assert lock["packages"][""]["dependencies"] == wanted
    assert all("integrity" in package for name, package in lock["packages"].items() if name)


def test_students_have_the_list_of_assignments_and_no_tools_of_the_instructor() -> None:
    off = json.loads((DEPLOY / "students" / "page_config.json").read_text())["disabledExtensions"]
    assert {f"@jupyter/nbgrader:{name}" for name in ("formgrader", "create-assignment", "course-list")} <= set(off)
    server = json.loads((DEPLOY / "students" / "jupyter_server_config.json").read_text())
    extensions = server["ServerApp"]["jpserver_extensions"]
    assert [name.rpartition(".")[2] for name, on in extensions.items() if on] == [
        "assignment_list",
        "validate_assignment",
    ]
