"""Memory that a DataLoader's worker fills and the main process reads, used again and again.

torch hands each tensor over in new shared memory. The system gives that page by page and clears
every page, which for megabytes takes as long as to read and decode them. Here a worker keeps a few
blocks of shared memory, and fills one again once the main process has let go of all tensors in it.
What does not fit into them goes torch's way.

A block begins with a page of its own, through which the two tell each other what became of it. Only
Linux has what this is made of: files without a name (`memfd_create`), which another process opens
through `/proc`.
"""

from __future__ import annotations

import mmap
import os
import secrets
import struct
import threading
import weakref
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch.utils.data import get_worker_info

Values = npt.NDArray[np.float32]

# What a worker keeps at most: what a DataLoader asks for ahead, what its user holds, and some more.
BLOCKS = 8

_HEAD_BYTES = mmap.PAGESIZE
_TOKEN = slice(0, 16)

# Where a head counts how often the block was sent; received and let go of; and let go of by a
# process that has forked since, so that another may look into it yet; and where it says that the
# worker has done with it. The worker writes the first and the last, the main process the others, so
# neither has to wait for the other.
_SENT, _RELEASED, _ABANDONED, _RETIRED = 16, 24, 32, 40


@dataclass(frozen=True)
class Handle:
    """How another process finds a block.

    Attributes
    ----------
    pid, file
        The process that made it, and the number of its open file there.
    token
        What the block begins with, to know it by.
    size
        Its bytes.
    """

    pid: int
    file: int
    token: bytes
    size: int


class Block:
    """A block as the worker has it, for so many bytes of values."""

    def __init__(self, nbytes: int) -> None:
        size = _HEAD_BYTES + nbytes
        self._file = os.memfd_create("aerozarr-item")
        os.ftruncate(self._file, size)
        self._memory = mmap.mmap(self._file, size)
        self.handle = Handle(os.getpid(), self._file, secrets.token_bytes(16), size)
        self._memory[_TOKEN] = self.handle.token
        self._user: weakref.ref[Values] | None = None

    @property
    def nbytes(self) -> int:
        """Bytes of values that it holds."""
        return self.handle.size - _HEAD_BYTES

    def acquire(self, count: int) -> Values:
        """Return the memory of `count` values, in use for as long as that array is there."""
        values = _values(self._memory, count)
        self._user = weakref.ref(values)
        return values

    def is_used(self) -> bool:
        """Whether anything is in it, here or on the way or in the main process."""
        if self._user is not None and self._user() is not None:
            return True
        sent = _count(self._memory, _SENT)
        return sent != _count(self._memory, _RELEASED) + _count(self._memory, _ABANDONED)

    def is_shared_with_fork(self) -> bool:
        """Whether a process that the main process forked may still look into it."""
        return _count(self._memory, _ABANDONED) > 0

    def send(self) -> Handle:
        """Note that it is sent, and return what to send."""
        _add(self._memory, _SENT)
        return self.handle

    def close(self) -> None:
        """Give it up: its memory goes when the main process, too, has let go of it."""
        _add(self._memory, _RETIRED)
        os.close(self._file)


class Pool:
    """The blocks of a worker."""

    def __init__(self) -> None:
        self.pid = os.getpid()
        self._blocks: dict[int, Block] = {}  # by the address of their values
        self._lock = threading.Lock()

    def take(self, count: int) -> Values | None:
        """Return memory for so many values, which hold anything; None when there is none left."""
        nbytes = 4 * count
        with self._lock:
            for address, block in list(self._blocks.items()):
                if block.is_used():
                    continue
                if block.nbytes >= nbytes and not block.is_shared_with_fork():
                    return block.acquire(count)
                del self._blocks[address]
                block.close()
            if len(self._blocks) == BLOCKS:
                return None
            block = Block(nbytes)
            values = block.acquire(count)
            self._blocks[values.ctypes.data] = block
            return values

    def find(self, address: int) -> Block | None:
        """Return the block whose values begin at an address."""
        return self._blocks.get(address)


_pool: Pool | None = None


def take(count: int) -> torch.Tensor | None:
    """Return a tensor of `count` float32 values in a block, which hold anything.

    Returns
    -------
    tensor or None
        None when this is no worker of a DataLoader, or its blocks are all in use.
    """
    global _pool
    if get_worker_info() is None or not count or not _can_share():
        return None
    if _pool is None or _pool.pid != os.getpid():
        _pool = Pool()
    values = _pool.take(count)
    return None if values is None else torch.from_numpy(values)


def _can_share() -> bool:
    """Whether the main process can open what this one has open, as far as can be told from here."""
    return hasattr(os, "memfd_create") and os.access(f"/proc/{os.getppid()}/fd", os.R_OK | os.X_OK)


def send(storage: torch.UntypedStorage) -> Handle | None:
    """Return how another process finds the block that is a tensor's storage; None if it is none."""
    if _pool is None or _pool.pid != os.getpid():
        return None
    block = _pool.find(storage.data_ptr())
    return None if block is None else block.send()


# In the process that receives

_mapped: dict[bytes, tuple[Handle, mmap.mmap]] = {}
_forks = 0


def receive(handle: Handle, count: int) -> torch.Tensor:
    """Return the float32 values of a block; the worker has it back when their storage is gone.

    Raises
    ------
    RuntimeError
        When the worker has ended.
    """
    if handle.token not in _mapped:
        _forget_what_ended()
        _mapped[handle.token] = handle, _map(handle)
    memory = _mapped[handle.token][1]
    values = _values(memory, count)
    finalizer = weakref.finalize(values, _release, memory, handle.token, os.getpid(), _forks)
    finalizer.atexit = False
    return torch.from_numpy(values)


def _map(handle: Handle) -> mmap.mmap:
    try:
        file = os.open(f"/proc/{handle.pid}/fd/{handle.file}", os.O_RDWR)
        try:
            memory = mmap.mmap(file, handle.size)
        finally:
            os.close(file)
    except (OSError, ValueError) as error:
        raise RuntimeError(
            f"An item that a DataLoader's worker has read cannot be received: {error}. The worker "
            "has ended before."
        ) from None
    if memory[_TOKEN] != handle.token:
        raise RuntimeError(
            "An item that a DataLoader's worker has read cannot be received: its memory is gone."
        )
    return memory


def _release(memory: mmap.mmap, token: bytes, pid: int, forks: int) -> None:
    """Say that the values are no longer used here."""
    if os.getpid() != pid:
        return  # they are the parent's
    if forks == _forks:
        _add(memory, _RELEASED)
    else:  # the process was forked meanwhile; the other may use them yet
        _add(memory, _ABANDONED)
        _mapped.pop(token, None)


def _forget_what_ended() -> None:
    for token, (handle, memory) in list(_mapped.items()):
        if _count(memory, _RETIRED) or not os.path.exists(f"/proc/{handle.pid}"):
            del _mapped[token]


def _note_fork() -> None:
    global _forks
    _forks += 1


os.register_at_fork(before=_note_fork)


def _values(memory: mmap.mmap, count: int) -> Values:
    return np.frombuffer(memory, np.float32, count, _HEAD_BYTES)


def _count(memory: mmap.mmap, place: int) -> int:
    return int(struct.unpack_from("<Q", memory, place)[0])


def _add(memory: mmap.mmap, place: int) -> None:
    struct.pack_into("<Q", memory, place, _count(memory, place) + 1)
