"""What a child may see of the machine's files, beyond its own scratch directory."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

from convertd.sandbox import landlock

# No /usr as a whole: applications and their data are often put beneath it.
_SYSTEM = (
    *("/lib", "/lib32", "/lib64", "/usr/lib", "/usr/lib32", "/usr/lib64", "/usr/libexec", "/usr/share"),
    *("/usr/local/lib", "/usr/local/lib64", "/usr/local/share", "/nix/store"),
    *("/etc/ld.so.cache", "/etc/ld.so.conf", "/etc/ld.so.conf.d", "/etc/localtime", "/etc/timezone"),
    *("/etc/fonts", "/var/cache/fontconfig", "/etc/mime.types", "/etc/alternatives"),
    *("/proc/cpuinfo", "/proc/meminfo", "/proc/stat", "/sys/devices/system/cpu"),
)
_PROGRAMS = ("/bin", "/sbin", "/usr/bin", "/usr/sbin", "/usr/local/bin", "/opt", "/etc/libreoffice")
_DEVICES = ("/dev/null", "/dev/zero", "/dev/random", "/dev/urandom")


def common() -> list[landlock.Grant]:
    """For every child: libraries, fonts, the interpreter and the modules that this process has imported."""
    readable = [
        (path, landlock.READ) for path in (*_SYSTEM, *_interpreter("lib", "lib64", "share"), *_modules())
    ]
    return landlock.open_grants([*readable, *((path, landlock.DEVICE) for path in _DEVICES)])


def programs(*, sockets: bool) -> list[landlock.Grant]:
    """For a child that may start programs, beside the common: where programs and their libraries lie.

    With ``sockets`` they may make one where LibreOffice insists on it: needed where they cannot be made to
    believe that they have.
    """
    rights = landlock.READ | landlock.EXECUTE
    places = (*_PROGRAMS, *_SYSTEM, *_interpreter("bin", "lib", "lib64"), *_modules())
    shared = (("/tmp", landlock.MAKE_SOCK),) if sockets else ()  # noqa: S108
    return landlock.open_grants([*((path, rights) for path in places), *shared])


def _interpreter(*folders: str) -> Iterator[str]:
    for prefix in {sys.prefix, sys.base_prefix, sys.exec_prefix, sys.base_exec_prefix}:
        yield from (f"{prefix}/{folder}" for folder in folders)


def _modules() -> list[str]:
    """Packages that lie outside the interpreter's library: never their parent, which may be a home."""
    libraries = tuple(_interpreter("lib/", "lib64/"))
    top_level = [module for name, module in list(sys.modules.items()) if "." not in name]
    places = [place for module in top_level for place in getattr(module, "__path__", ())]
    places += [place for module in top_level if (place := getattr(module, "__file__", None))]
    outside = {place for place in places if not place.startswith(libraries)}
    return sorted(outside - {str(Path(place).parent / "__init__.py") for place in outside})
