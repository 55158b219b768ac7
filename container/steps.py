"""The steps of the Dockerfile, carried out where no container engine is, and the server that comes of them.

python container/steps.py RUN PHOTO

Each stage is a layer over this machine's own system, in whose place a container would have the base image;
what a stage writes goes to a new folder. The server then runs as the Dockerfile says: as that user, on a
file system that cannot be written to, in a network of its own. It must become healthy, answer for PHOTO,
have no TensorFlow, and end with 0 when it is told to. Needs Linux and root.
"""

import ctypes
import fcntl
import json
import os
import re
import shlex
import shutil
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import time
import urllib.request
from dataclasses import dataclass, field
from pathlib import Path

CONTEXT = Path(__file__).parents[1]
BIND = ("/proc", "/dev", "/sys")
HEALTHY_WITHIN_S = 30


@dataclass
class Stage:
    """A stage of a Dockerfile as it grows: its root, and what its instructions have set."""

    folder: Path
    environment: dict[str, str]
    user: str = "0:0"
    entrypoint: list[str] = field(default_factory=list)
    command: list[str] = field(default_factory=list)
    health: list[str] = field(default_factory=list)

    @property
    def root(self) -> Path:
        """Where its file system is."""
        return self.folder / "root"

    def run(self, words: list[str], *, user: str = "0:0") -> list[str]:
        """The command that runs words in this stage."""
        settings = [f"{name}={value}" for name, value in self.environment.items()]
        return ["chroot", f"--userspec={user}", str(self.root), "env", "-i", *settings, *words]


def begun(folder: Path) -> Stage:
    """A stage on the base image, for which this machine with its Python stands in."""
    for name in ("written", "work", "root"):
        (folder / name).mkdir(parents=True)
    layers = f"lowerdir=/,upperdir={folder / 'written'},workdir={folder / 'work'}"
    mount("-t", "overlay", "overlay", "-o", layers, str(folder / "root"))
    for name in BIND:
        mount("--rbind", name, f"{folder}/root{name}")
    python = Path(sys.base_prefix) / "bin"
    for parent in (python, *python.parents):  # an image's Python can be reached by every user
        inside = folder / "root" / parent.relative_to("/")
        inside.chmod(inside.stat().st_mode | 0o555)
    return Stage(folder, {"PATH": f"{python}:/usr/bin:/bin", "HOME": "/tmp"})


def mount(*words: str) -> None:
    """Mount something; seen by this process and those that it starts."""
    subprocess.run(["mount", *words], check=True)


def instructions(dockerfile: Path) -> list[tuple[str, str]]:
    """Each instruction of a Dockerfile with its words, lines that go on put together."""
    lines = [line for line in dockerfile.read_text().splitlines() if not line.lstrip().startswith("#")]
    whole = re.sub(r"\\\n\s*", "", "\n".join(lines))
    return [(line.split()[0], line.split(maxsplit=1)[1]) for line in whole.splitlines() if line.strip()]


def built(folder: Path) -> Stage:
    """The last stage, after all steps."""
    stages: dict[str, Stage] = {}
    stage: Stage | None = None
    for number, (name, words) in enumerate(instructions(CONTEXT / "Dockerfile")):
        print(f"{name} {words}", file=sys.stderr)
        if name == "FROM":
            _, _, alias = words.partition(" AS ")
            stage = stages[alias or "last"] = begun(folder / (alias or f"stage-{number}"))
            continue
        assert stage is not None
        carry_out(stage, name, words, stages)
    assert stage is not None
    return stage


def carry_out(stage: Stage, name: str, words: str, stages: dict[str, Stage]) -> None:
    """Do what an instruction says."""
    match name:
        case "COPY":
            copy(stage, shlex.split(words), stages)
        case "RUN":
            index = [f"{key}={value}" for key, value in os.environ.items() if key.startswith("PIP_")]
            subprocess.run(stage.run(["env", *index, "sh", "-c", words]), check=True)
        case "ENV":
            for one in shlex.split(words):
                key, _, value = one.partition("=")
                stage.environment[key] = value.replace("$PATH", stage.environment["PATH"])
        case "USER":
            stage.user = words
        case "ENTRYPOINT":
            stage.entrypoint = json.loads(words)
        case "CMD":
            stage.command = json.loads(words)
        case "HEALTHCHECK":
            stage.health = json.loads(words.partition("CMD ")[2])
        case "EXPOSE":
            pass
        case _:
            raise SystemExit(f"{name} is an instruction that {Path(__file__).name} does not know.")


def copy(stage: Stage, words: list[str], stages: dict[str, Stage]) -> None:
    """Copy files and folders from the context or from another stage."""
    source = CONTEXT
    if words[0].startswith("--from="):
        source = stages[words.pop(0).partition("=")[2]].root
    *paths, target = words
    for path in paths:
        taken, put = source / path.lstrip("/"), stage.root / target.lstrip("/")
        if taken.is_dir():
            ignored = shutil.ignore_patterns("__pycache__") if source == CONTEXT else None
            shutil.copytree(taken, put, symlinks=True, dirs_exist_ok=True, ignore=ignored)
        else:
            put.mkdir(parents=True, exist_ok=True)
            shutil.copy(taken, put)


def tried(stage: Stage, run: Path, photo: Path) -> None:
    """Run the server as the Dockerfile says, and see what it must do."""
    (stage.root / "model").mkdir()
    mount("--bind", str(run), str(stage.root / "model"))
    mount("-o", "remount,bind,ro", str(stage.root / "model"))
    mount("-o", "remount,ro", str(stage.root))
    loopback_up()
    inside = stage.run(["sh", "-c", "touch /opt/x /tmp/x 2>/dev/null && echo writable"], user=stage.user)
    assert subprocess.run(inside, capture_output=True).stdout == b""
    without = "import importlib.util as u; assert not any(map(u.find_spec, ('tensorflow', 'keras')))"
    subprocess.run(stage.run(["python", "-c", without], user=stage.user), check=True)

    begun_at = time.perf_counter()
    serving = stage.run([*stage.entrypoint, *stage.command], user=stage.user)
    with subprocess.Popen(serving) as server:
        try:
            health = stage.run(stage.health, user=stage.user)
            while subprocess.run(health, stderr=subprocess.DEVNULL).returncode:
                assert server.poll() is None, "the server has ended"
                assert time.perf_counter() - begun_at < HEALTHY_WITHIN_S, "the server does not get healthy"
            seconds = time.perf_counter() - begun_at
            status = dict(
                re.findall(r"^(\w+):\s+(\S+)", Path(f"/proc/{server.pid}/status").read_text(), re.M)
            )
            assert status["Uid"] == stage.user.partition(":")[0], status["Uid"]
            told = answer(photo)
            server.send_signal(signal.SIGTERM)
            assert server.wait(timeout=30) == 0
        finally:
            server.kill()
    size = sum(file.lstat().st_size for file in (stage.folder / "written/opt").rglob("*"))
    print(
        f"Healthy after {seconds:.1f} s with {int(status['VmRSS']) / 1000:.0f} MB, as user {status['Uid']}, "
        f"on a read-only file system; {size / 1e6:.0f} MB above the base image.\n{photo.name}: {told}"
    )


def loopback_up() -> None:
    """Bring up the interface to itself, which a new network has down: SIOCGIFFLAGS, SIOCSIFFLAGS, IFF_UP."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asked:
        found = fcntl.ioctl(asked, 0x8913, struct.pack("16sH14x", b"lo", 0))
        fcntl.ioctl(asked, 0x8914, struct.pack("16sH14x", b"lo", struct.unpack("16sH14x", found)[1] | 1))


def answer(photo: Path) -> str:
    """What the server says of a photo."""
    request = urllib.request.Request(
        "http://127.0.0.1:8000/v1/predict", photo.read_bytes(), {"Content-Type": "image/jpeg"}
    )
    with urllib.request.urlopen(request, timeout=10) as response:
        return str(json.load(response)["predictions"][0]["answer"])


def main() -> None:
    """Build and try, and leave nothing."""
    if len(sys.argv) == 3:  # again, in mounts and a network of its own, which end with it
        here = [sys.executable, __file__, *map(os.path.abspath, sys.argv[1:])]
        with tempfile.TemporaryDirectory(prefix="container-") as folder:
            subprocess.run(["unshare", "--mount", *here, folder, "build"], check=True)
    elif len(sys.argv) == 5:
        run, photo, folder = map(Path, sys.argv[1:4])
        stage = built(folder)
        unshare_network()
        tried(stage, run, photo)
    else:
        raise SystemExit(__doc__)


def unshare_network() -> None:
    """Have a network of one's own from now on, as `os.unshare(os.CLONE_NEWNET)` does from Python 3.12 on."""
    if ctypes.CDLL(None, use_errno=True).unshare(0x40000000):
        raise OSError(ctypes.get_errno(), "unshare")


if __name__ == "__main__":
    main()
