"""Large pages of memory for commands that compute.

A training step takes hundreds of megabytes from the C library and gives them back. The kernel hands them out in pages
of 4 KB, one by one and wiped, which is a fifth of a step's time on a CPU. glibc asks for pages of 2 MB where it is told
to before a program begins. Where the kernel gives large pages to everybody, or to nobody, there is nothing to do; other
C libraries and systems have no such switch.
"""

import os
import sys
from pathlib import Path

SWITCH = "GLIBC_TUNABLES"
WANTED = "glibc.malloc.hugetlb=1"
KERNEL = Path("/sys/kernel/mm/transparent_hugepage/enabled")


def environment() -> dict[str, str]:
    """What a program's environment lacks to be given large pages; empty where nothing does, or somebody chose."""
    told = os.environ.get(SWITCH, "")
    if "glibc.malloc.hugetlb" in told or not _of_use():
        return {}
    return {SWITCH: f"{told}:{WANTED}" if told else WANTED}


def restart() -> None:
    """Starts this program anew, in the same process, where that gives it large pages; before anything else is done."""
    if missing := environment():
        os.environ.update(missing)
        os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])


def _of_use() -> bool:
    try:
        library = os.confstr("CS_GNU_LIBC_VERSION") or ""
        version = tuple(map(int, library.removeprefix("glibc ").split(".")))
        return version >= (2, 35) and "[madvise]" in KERNEL.read_text()
    except (AttributeError, ValueError, OSError):
        return False
