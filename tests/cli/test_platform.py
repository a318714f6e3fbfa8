"""What Windows lacks is not needed: a training, its model and its samples in a process without POSIX."""

import json
import subprocess
import sys
from pathlib import Path, PureWindowsPath

import pytest

from nextchar.errors import TextError
from nextchar.text.sources import find_sources

# Libraries are imported first: what they need of the system is their own matter.
WITHOUT_POSIX = """
import signal, sys
import torch, numba, matplotlib.pyplot, pydantic, cyclopts, rich.progress, safetensors.numpy, pooch
import torch._dynamo
import builtins, errno, os

real_open, real_fsync = os.open, os.fsync

def open_file(path, flags, *rest, **options):
    if os.path.isdir(path):
        raise PermissionError(errno.EACCES, "Permission denied", str(path))
    return real_open(path, flags, *rest, **options)

def fsync(descriptor):
    os.write(descriptor, b"")  # Windows syncs only what is open for writing
    real_fsync(descriptor)

os.open, os.fsync = open_file, fsync
for name in ("O_DIRECTORY", "sysconf", "fork", "register_at_fork", "sched_getaffinity", "getuid", "getloadavg", "mkfifo"):
    if hasattr(os, name):
        delattr(os, name)
for name in ("SIGHUP", "SIGKILL", "SIGALRM", "SIGUSR1"):
    if hasattr(signal, name):
        delattr(signal, name)
for name in ("resource", "pwd", "grp", "termios"):
    sys.modules[name] = None

from nextchar.cli.main import main

sys.exit(max(main(words) for words in COMMANDS))
"""


@pytest.mark.slow
@pytest.mark.shell
def test_commands_run_without_posix(tmp_path: Path, text_file: Path) -> None:
    """Training, resuming, scoring, sampling and inspecting call nothing that only POSIX has."""
    run, text = str(tmp_path / "run"), str(text_file)
    small = ["--hidden", "8", "--embedding", "4", "--batch-size", "2", "--seq-length", "16"]
    commands = [
        ["train", text, "--steps", "3", *small, "-o", run],
        ["train", "--resume", run, "--steps", "2"],
        ["evaluate", run, text, "--per-char", str(tmp_path / "p.csv")],
        ["inspect", run, text, "-o", str(tmp_path / "p.html"), "-n", "50"],
        ["info", run],
        ["corpora"],
        ["sample", run, "-n", "5", "--json"],
    ]
    code = f"COMMANDS = {commands!r}\n{WITHOUT_POSIX}"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout.splitlines()[-1])["samples"][0]["chars"] == 5


@pytest.mark.parametrize("name", [r"C:\books\war.txt", r"\\server\share\a.txt", "C:/books/*.txt"])
def test_a_drive_letter_is_no_scheme(name: str) -> None:
    """A path of Windows is a file or a glob like any other, and is named as it was written."""
    assert PureWindowsPath(name).suffix == ".txt"
    with pytest.raises(TextError) as error, find_sources(name):
        pass
    assert f"there is no file, folder or corpus named '{name}'" in str(error.value)
