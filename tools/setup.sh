#!/bin/sh
# Create .venv with the newest suitable Python and install the pinned packages into it.
# Run by make when pyproject.toml, constraints.txt or this file has changed.
set -eu

NEWEST=14  # the newest Python 3 minor for which every pinned package has a wheel
OLDEST=11

# Print the command of the newest suitable interpreter; fail if there is none.
find_python() {
    minor=$NEWEST
    while [ "$minor" -ge "$OLDEST" ]; do
        for name in "python3.$minor" python3 python; do
            if "$name" -c "import sys; sys.exit(sys.version_info[:2] != (3, $minor))" 2>/dev/null; then
                echo "$name"
                return
            fi
        done
        minor=$((minor - 1))
    done
    return 1
}

# Debian and Ubuntu ship Python without the part that makes virtual environments.
ensure_venv() {
    "$1" -c "import ensurepip, venv" 2>/dev/null && return
    package="$("$1" -c 'import sys; print("python3.%d-venv" % sys.version_info[1])')"
    if [ "$(id -u)" -eq 0 ] && command -v apt-get >/dev/null; then
        echo "Installing $package with apt-get."
        apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "$package" >/dev/null
    else
        echo "error: $1 cannot make virtual environments. Install the package that can, for instance:" >&2
        echo "    sudo apt install $package" >&2
        exit 1
    fi
}

python=$(find_python) || {
    found=$(python3 --version 2>/dev/null) || found="not there"
    echo "error: no Python from 3.$OLDEST to 3.$NEWEST found (python3 is $found)." >&2
    echo "Install one, for instance:  sudo apt install python3.11 python3.11-venv   or   brew install python@3.13" >&2
    exit 1
}

if ! .venv/bin/python -c "import pip" 2>/dev/null; then
    ensure_venv "$python"
    echo "Creating .venv with $("$python" --version)."
    "$python" -m venv --clear .venv
fi

echo "Installing the pinned packages into .venv; the first time this takes a few minutes."
if [ -t 1 ]; then quiet=; else quiet=--quiet; fi  # a terminal shows the downloads, a log does not
.venv/bin/python -m pip install $quiet --disable-pip-version-check --editable '.[book,dev,grade,hub,interop]' --constraint constraints.txt
