"""Sets up ``.venv`` with all pinned packages, and the servers' jars, from a bare Python.

``make`` runs this with the machine's own Python before any package is installed, so it uses the
standard library only. No version is chosen here: ``requirements.lock`` pins every package with
its digests, `uv` (itself from the lock, fetched by pip) installs them, and ``infra.embedded``
fetches the jars that ``jars.lock`` pins. A stamp file holds the digest of the environment's
inputs; while it matches, there is nothing to do and a start costs milliseconds. An interrupted
set-up leaves no stamp, so the next one continues.
"""

import ast
import fcntl
import hashlib
import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
VENV = ROOT / ".venv"
LOCK = ROOT / "requirements.lock"
STAMP = VENV / "millrace.stamp"
INPUTS = (LOCK, ROOT / "pyproject.toml", ROOT / "infra" / "embedded" / "jars.lock")
OLDEST, NEWEST = (3, 11), (3, 13)
NEEDED_BYTES = 3 << 30

# pip's configuration (environment or file) must also apply to uv, which reads neither.
UV_SETTINGS = {
    "index-url": "UV_DEFAULT_INDEX",
    "extra-index-url": "UV_INDEX",
    "find-links": "UV_FIND_LINKS",
    "no-index": "UV_NO_INDEX",
    "cert": "SSL_CERT_FILE",
    "trusted-host": "UV_INSECURE_HOST",
    "default-timeout": "UV_HTTP_TIMEOUT",
    "timeout": "UV_HTTP_TIMEOUT",
}


class SetupError(Exception):
    """The set-up cannot continue; the message names the cause and the remedy in one line."""


def main() -> int:
    """Set the project up unless the environment is current."""
    try:
        python = suitable_python()
        home = Path(os.environ.get("MILLRACE_HOME", str(ROOT / "var")))
        home.mkdir(parents=True, exist_ok=True)
        with (home / "setup.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not is_current():
                set_up(python, home)
    except SetupError as error:
        print(f"millrace set-up: {error}", file=sys.stderr)
        return 1
    except OSError as error:
        print(f"millrace set-up: {error}; mend that and run it again", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("millrace set-up: interrupted; run it again to go on", file=sys.stderr)
        return 130
    return 0


def set_up(python: str, home: Path) -> None:
    """Make the environment step by step, printing each step and its duration."""
    begin = time.monotonic()
    free = shutil.disk_usage(ROOT).free
    if not STAMP.exists() and free < NEEDED_BYTES:
        raise SetupError(
            f"the disk of {ROOT} has {free >> 20} MiB left and {NEEDED_BYTES >> 20} are "
            "needed: make room, then run it again"
        )
    STAMP.unlink(missing_ok=True)
    say("Setting up Millrace in .venv (once; about 1 GB of packages and 100 MB of jars)")
    make_environment(python)
    install_packages()
    say(f"Packages are installed ({time.monotonic() - begin:.0f} s); fetching the servers")
    command = [
        venv_python(),
        "-m",
        "millrace.infra.embedded",
        "fetch",
        "--home",
        str(home.resolve()),
    ]
    if subprocess.run(command, cwd=ROOT, check=False).returncode:
        raise SetupError("the servers' jars are missing, see the line above")
    STAMP.write_text(digest())
    say(f"Ready after {time.monotonic() - begin:.0f} s")


def suitable_python() -> str:
    """Find a supported Python: this one, or one with a version in its name."""
    if OLDEST <= sys.version_info[:2] <= NEWEST:
        return sys.executable
    for minor in range(NEWEST[1], OLDEST[1] - 1, -1):
        found = shutil.which(f"python3.{minor}")
        if found:
            return found
    wanted = " to ".join(".".join(map(str, version)) for version in (OLDEST, NEWEST))
    raise SetupError(
        f"Python {wanted} is needed and this is {sys.version.split()[0]}: install one, and "
        "name it if it is not on the PATH: make PYTHON=/path/to/python3.13 ..."
    )


def is_current() -> bool:
    """Whether the environment was completed from exactly the present lock files."""
    try:
        return STAMP.read_text() == digest() and Path(venv_python()).exists()
    except FileNotFoundError:
        return False


def digest() -> str:
    """Digest of the environment's inputs and location."""
    content = b"\0".join([path.read_bytes() for path in INPUTS] + [str(ROOT).encode()])
    return hashlib.sha256(content).hexdigest()


def venv_python() -> str:
    """The environment's interpreter."""
    return str(VENV / "bin" / "python")


def make_environment(python: str) -> None:
    """Make sure that there is a ``.venv`` with pip and a supported Python."""
    probe = f"import sys; sys.exit(not {OLDEST} <= sys.version_info[:2] <= {NEWEST})"
    for test in (["-c", probe], ["-m", "ensurepip"]):
        try:
            tried = subprocess.run([venv_python(), *test], capture_output=True, check=False)
        except FileNotFoundError:
            break  # There is none, or its Python has been uninstalled.
        if tried.returncode:
            break
    else:
        return
    made = subprocess.run(
        [python, "-m", "venv", "--clear", str(VENV)],
        capture_output=True,
        text=True,
        check=False,
    )
    if made.returncode:
        if "ensurepip" in made.stdout + made.stderr or "No module named venv" in made.stderr:
            raise SetupError(
                f"{python} comes without venv or ensurepip: install them "
                "(Debian, Ubuntu: apt install python3-venv), then run it again"
            )
        raise SetupError(f"{python} cannot make {VENV}: {last_line(made)}")


def install_packages() -> None:
    """Install uv, then with it exactly what the lock names, then the project itself."""
    pinned = re.search(r"^uv==.*\n(?: +--hash.*\n)+", LOCK.read_text(), re.MULTILINE)
    if not pinned:
        raise SetupError(f"{LOCK.name} does not pin uv: restore it from version control")
    only_uv = VENV / "uv.lock"
    only_uv.write_text(pinned.group())
    pip = [venv_python(), "-m", "pip", "--disable-pip-version-check", "--quiet", "--retries=2"]
    got = subprocess.run(
        [*pip, "install", "--require-hashes", "--no-deps", "-r", str(only_uv)],
        capture_output=True,
        text=True,
        check=False,
    )
    if got.returncode:
        raise SetupError(
            "cannot fetch the installer (uv): check the network, or what pip is configured "
            f"with, then run it again; pip said: {last_line(got)}"
        )
    uv = [str(VENV / "bin" / "uv"), "pip"]
    # On a terminal uv shows its progress; in a log that would be 140 lines.
    here = ["--python", venv_python(), *([] if sys.stderr.isatty() else ["--quiet"])]
    environment = uv_environment()
    project = ["install", "--quiet", "--no-deps", "--no-build-isolation", "--editable", "."]
    for command in (["sync", "--require-hashes", "--compile-bytecode", str(LOCK)], project):
        ran = subprocess.run([*uv, *command, *here], cwd=ROOT, env=environment, check=False)
        if ran.returncode:
            full = shutil.disk_usage(ROOT).free < 100 << 20
            what = "make room on the disk" if full else "check the network"
            raise SetupError(f"uv could not install (it says why above): {what}, then again")


def uv_environment() -> "dict[str, str]":
    """The environment, with pip's configuration where uv has none."""
    environment = dict(os.environ)
    configured = subprocess.run(
        [venv_python(), "-m", "pip", "config", "list"],
        capture_output=True,
        text=True,
        check=False,
    )
    # Lines are like  global.index-url='...'  or  :env:.find-links='...'
    for key, value in re.findall(r"^.*\.([\w-]+)=(.*)$", configured.stdout, re.MULTILINE):
        name = UV_SETTINGS.get(key)
        if name:
            words = str(ast.literal_eval(value)).split()
            kept = [word for word in words if key != "find-links" or usable(word)]
            if kept:
                environment.setdefault(name, " ".join(kept))
    return environment


def usable(place: str) -> bool:
    """Whether a find-links location exists; uv, unlike pip, fails on a missing one."""
    return "://" in place or Path(place).exists()


def last_line(result: "subprocess.CompletedProcess[str]") -> str:
    """The last line of a failed program's output."""
    lines = (result.stdout + result.stderr).strip().splitlines()
    return lines[-1] if lines else f"nothing (exit code {result.returncode})"


def say(text: str) -> None:
    """Print a progress message on standard error."""
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
