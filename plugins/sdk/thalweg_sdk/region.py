"""The shared memory that the engine offers on a function channel (portable-plugins.md 12.4)."""

import mmap
import os
import stat
from typing import Any, Dict


class Region:
    """A mapped file. The engine made it, and takes its name away once it is mapped."""

    def __init__(self, offer: Dict[str, Any]):
        path, size = offer.get("path"), offer.get("size")
        if not isinstance(path, str) or not isinstance(size, int) or isinstance(size, bool) or size <= 0:
            raise ValueError("shared memory needs a path and a size")
        # A file without a name is opened through the engine's descriptor, which looks like a link.
        no_follow = 0 if path.startswith("/proc/") else getattr(os, "O_NOFOLLOW", 0)
        descriptor = os.open(path, os.O_RDWR | no_follow | getattr(os, "O_CLOEXEC", 0))
        try:
            found = os.fstat(descriptor)
            # A page beyond the end of the file would end the process when it is touched.
            if not stat.S_ISREG(found.st_mode) or found.st_size < size:
                raise ValueError("%s has %d bytes, not %d" % (path, found.st_size, size))
            self._map = mmap.mmap(descriptor, size)
        finally:
            os.close(descriptor)
        self.memory = memoryview(self._map)

    def close(self) -> None:
        """Lets go; memory that a function still holds an array of stays until that is gone."""
        try:
            self.memory.release()
            self._map.close()
        except BufferError:
            pass
