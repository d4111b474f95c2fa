"""The machine under the benchmark: facts, one core for all, processor time and memory."""

from __future__ import annotations

import contextlib
import os
import platform
import socket
import sqlite3
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

_PROC = Path("/proc")


def pin(pid: int = 0) -> bool:
    """Keep a process (0: this one and those it starts) on the last core; tell whether that worked.

    With both ends on one core a rate is comments per core-second of client and server together.
    """
    if not hasattr(os, "sched_setaffinity"):
        return False
    try:
        os.sched_setaffinity(pid, {max(os.sched_getaffinity(0))})
    except OSError:
        return False
    return True


def free_port() -> int:
    """Return a port of the loopback address that nobody listens on."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port: int = found.getsockname()[1]
        return port


def family(pid: int) -> list[int]:
    """Return a process and all that descend from it; nothing where there is no /proc."""
    children: dict[int, list[int]] = {}
    for one, fields in _processes():
        children.setdefault(int(fields[1]), []).append(one)
    found, todo = [], [pid]
    while todo:
        one = todo.pop()
        found.append(one)
        todo += children.get(one, [])
    return found


def program_of(pid: int) -> str:
    """Return the name of the program that a process runs; nothing if it is not on this machine."""
    try:
        return (_PROC / str(pid) / "comm").read_text().strip()
    except OSError:
        return ""


def cpu_s(pids: Iterable[int]) -> float:
    """Return the processor seconds that processes have used so far; 0 where there is no /proc."""
    return sum(_cpu_s(pid) for pid in pids)


def memory_mb(pids: Iterable[int]) -> tuple[float, float]:
    """Return resident memory of processes now and at its height, in MB; zeros without /proc."""
    now = height = 0.0
    for pid in pids:
        with contextlib.suppress(OSError):
            lines = (_PROC / str(pid) / "status").read_text().splitlines()
            values = dict(line.split(":", 1) for line in lines)
            now += int(values["VmRSS"].split()[0]) / 1000
            height += int(values["VmHWM"].split()[0]) / 1000
    return now, height


def facts() -> dict[str, object]:
    """Return what a reader needs to judge the figures; nothing that names the machine."""
    return {
        "processor": _processor(),
        "cores": os.cpu_count(),
        "system": platform.system(),
        "architecture": platform.machine(),
        "python": platform.python_version(),
        "implementation": sys.implementation.name,
        "sqlite": sqlite3.sqlite_version,
    }


def _cpu_s(pid: int) -> float:
    tasks = _PROC / str(pid) / "task"
    try:
        # Nanoseconds, of the threads that live; the usual accounts count in hundredths.
        return (
            sum(int((task / "schedstat").read_text().split()[0]) for task in tasks.iterdir()) / 1e9
        )
    except OSError:
        fields = _stat(pid)
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK") if fields else 0.0


def _processor() -> str:
    with contextlib.suppress(OSError):
        for line in (_PROC / "cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or "unknown"


def _processes() -> Iterator[tuple[int, list[str]]]:
    if not _PROC.is_dir():
        return
    for entry in _PROC.iterdir():
        if entry.name.isdigit():
            fields = _stat(int(entry.name))
            if fields:
                yield int(entry.name), fields


def _stat(pid: int) -> list[str]:
    """Return the fields of /proc/<pid>/stat from the state on; none if the process is gone."""
    try:
        return (_PROC / str(pid) / "stat").read_text().rpartition(")")[2].split()
    except OSError:
        return []
