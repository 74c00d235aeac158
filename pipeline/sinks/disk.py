"""A file that is whole at every moment: what is written waits until `commit`, and then goes in or stays out.

Muxers write a fragment in many pieces and go back to mend what they wrote. A process killed between the
pieces, or a disk that fills up, would leave a file that strict readers refuse. The trap: after a failed
commit this file takes everything and writes nothing, so that a muxer can be closed without a second error.
"""

import contextlib
import fcntl
import os
import stat
from pathlib import Path

from pipeline.errors import SinkError

__all__ = ["OutputFile"]


class OutputFile:
    """Opened for writing; looks like a file to PyAV. Belongs to one sink: nobody else may write it meanwhile."""

    def __init__(self, path: Path, *, is_continued: bool = False, not_this: Path | None = None) -> None:
        """Open `path`; what it held is replaced by the first commit, or kept if `is_continued`.

        Args:
            path: a file that need not exist, in a folder that does.
            is_continued: add to what is there.
            not_this: the source's own file, which must not be overwritten while it is read.

        Raises:
            SinkError: it cannot be opened; the message says what would help.
        """
        self.path = path
        self._is_begun = is_continued
        self._fd, self._is_new = _opened(path)
        try:
            _check(self._fd, path, not_this)
        except BaseException:
            self.close()
            raise
        self.size = os.fstat(self._fd).st_size if is_continued else 0
        """Bytes on the disk."""
        self._position = self.size
        self._end = self.size
        self._pending: list[tuple[int, bytes]] = []
        self.has_failed = False
        """A commit failed; nothing is written any more."""

    def write(self, piece: bytes) -> int:
        """Remember a piece for the next commit."""
        if not self.has_failed:
            self._pending.append((self._position, bytes(piece)))
        self._position += len(piece)
        self._end = max(self._end, self._position)
        return len(piece)

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Move to where the next piece goes."""
        self._position = {os.SEEK_SET: 0, os.SEEK_CUR: self._position, os.SEEK_END: self._end}[whence] + offset
        return self._position

    def tell(self) -> int:
        """Where the next piece goes."""
        return self._position

    def commit(self) -> None:
        """Write all pieces.

        Raises:
            OSError: no space, too large, a dead disk; what was added is taken back, and the file is as it was
                after the commit before. From now on nothing is written any more.
        """
        if not self._pending:
            return
        try:
            if not self._is_begun:
                os.ftruncate(self._fd, 0)
                self._is_begun = True
            for offset, piece in self._pending:
                _write_all(self._fd, piece, offset)
        except OSError:
            self.has_failed = True
            self._pending.clear()
            with contextlib.suppress(OSError):
                os.ftruncate(self._fd, self.size)
            raise
        self.size = self._end
        self._pending.clear()

    def ends_with(self, tail: bytes) -> bool:
        """Whether the file on the disk ends so."""
        return os.pread(self._fd, len(tail), max(0, self.size - len(tail))) == tail

    def close(self) -> None:
        """Let go of the file; one that was made here and never written to is removed. Twice is fine."""
        if self._fd < 0:
            return
        if self._is_new and not self._is_begun:
            self.path.unlink(missing_ok=True)
        os.close(self._fd)
        self._fd = -1


def _opened(path: Path) -> tuple[int, bool]:
    """A descriptor, and whether the file was made by this."""
    flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NONBLOCK
    try:
        try:
            return os.open(path, flags | os.O_EXCL, 0o666), True
        except FileExistsError:
            return os.open(path, flags, 0o666), False
    except IsADirectoryError:
        raise SinkError(f"{path}: is a folder; name a file in it, such as {path / 'out.mp4'}") from None
    except FileNotFoundError:
        raise SinkError(f"{path}: there is no folder {path.parent}; make it: mkdir -p {path.parent}") from None
    except NotADirectoryError:
        raise SinkError(f"{path}: {path.parent} is not a folder; name a file in a folder") from None
    except PermissionError:
        raise SinkError(f"{path}: may not be written by this user; check: ls -ld {path.parent} {path}") from None
    except OSError as error:
        raise SinkError(f"{path}: cannot be written ({error.strerror}); name another file") from error


def _check(fd: int, path: Path, not_this: Path | None) -> None:
    found = os.fstat(fd)
    if not stat.S_ISREG(found.st_mode):
        raise SinkError(f"{path}: is no plain file; name a file")
    with contextlib.suppress(OSError):  # most sources are no files
        if not_this is not None and os.path.samestat(found, not_this.stat()):
            raise SinkError(f"{path}: is the source itself, which is still being read; name another file")
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise SinkError(
            f"{path}: is being written by another run or another stream; name another file "
            "(with several streams put {stream} into the name)"
        ) from None
    except OSError:
        pass  # some network disks know no locks


def _write_all(fd: int, piece: bytes, offset: int) -> None:
    view = memoryview(piece)
    while view:
        n_written = os.pwrite(fd, view, offset)
        view = view[n_written:]
        offset += n_written
