"""Memory that a DataLoader's worker fills and the main process reads, used again and again.

torch hands each tensor over in new shared memory. The system gives that page by page and clears
every page, which for megabytes takes as long as to read and decode them. Here a worker keeps a few
blocks of shared memory, and fills one again once the main process has released all tensors in it.
What does not fit into them goes torch's way.

A block begins with a header of one page: counters by which the two processes tell each other who
still uses it. Only Linux has what this is made of: files without a name (`memfd_create`), which
another process opens through `/proc`.
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

# What a worker keeps at most: what a DataLoader prefetches, what its user holds, and some more.
MAX_BLOCKS = 8

_HEADER_BYTES = mmap.PAGESIZE
_TOKEN = slice(0, 16)

# Offsets of a header's counters: how often the block was sent; how often it was released; how often
# it was released by a process that had forked since it received it, so that the fork may still read
# it; and whether the worker has closed it. The worker writes the first and the last, the main
# process the others, so neither needs a lock.
_SENT, _RELEASED, _RELEASED_AFTER_FORK, _CLOSED = 16, 24, 32, 40


@dataclass(frozen=True)
class Handle:
    """How another process opens a block.

    Attributes
    ----------
    pid, file
        The process that made it, and the number of its open file there.
    token
        Random bytes at the block's begin, to recognise it by.
    size
        Its bytes, the header included.
    """

    pid: int
    file: int
    token: bytes
    size: int


class Block:
    """A block of shared memory in the worker that made it.

    Parameters
    ----------
    nbytes
        Bytes of values that it holds.
    """

    def __init__(self, nbytes: int) -> None:
        size = _HEADER_BYTES + nbytes
        self._file = os.memfd_create("aerozarr-item")
        os.ftruncate(self._file, size)
        self._memory = mmap.mmap(self._file, size)
        self.handle = Handle(os.getpid(), self._file, secrets.token_bytes(16), size)
        self._memory[_TOKEN] = self.handle.token
        self._acquired: weakref.ref[Values] | None = None

    @property
    def nbytes(self) -> int:
        """Bytes of values that it holds."""
        return self.handle.size - _HEADER_BYTES

    def acquire(self, count: int) -> Values:
        """Return the memory of `count` values, in use for as long as that array exists."""
        values = _values(self._memory, count)
        self._acquired = weakref.ref(values)
        return values

    def is_used(self) -> bool:
        """Whether its values are in use: here, on their way, or in the main process."""
        if self._acquired is not None and self._acquired() is not None:
            return True
        released = _read_counter(self._memory, _RELEASED)
        released += _read_counter(self._memory, _RELEASED_AFTER_FORK)
        return _read_counter(self._memory, _SENT) != released

    def is_shared_with_fork(self) -> bool:
        """Whether a process that the main process forked may still read it."""
        return _read_counter(self._memory, _RELEASED_AFTER_FORK) > 0

    def send(self) -> Handle:
        """Count that it is sent, and return what to send."""
        _increment(self._memory, _SENT)
        return self.handle

    def close(self) -> None:
        """Close it here. Its memory is freed once the main process, too, has unmapped it."""
        _increment(self._memory, _CLOSED)
        os.close(self._file)


class BlockPool:
    """The blocks of a worker."""

    def __init__(self) -> None:
        self.pid = os.getpid()
        self._blocks: dict[int, Block] = {}  # by the address of their values
        self._lock = threading.Lock()

    def acquire(self, count: int) -> Values | None:
        """Return uninitialized memory of `count` values; None when all blocks are in use."""
        nbytes = 4 * count
        with self._lock:
            for address, block in list(self._blocks.items()):
                if block.is_used():
                    continue
                if block.nbytes >= nbytes and not block.is_shared_with_fork():
                    return block.acquire(count)
                del self._blocks[address]
                block.close()
            if len(self._blocks) == MAX_BLOCKS:
                return None
            block = Block(nbytes)
            values = block.acquire(count)
            self._blocks[values.ctypes.data] = block
            return values

    def find(self, address: int) -> Block | None:
        """Return the block whose values begin at an address."""
        return self._blocks.get(address)


_pool: BlockPool | None = None
"""The pool of this worker; made anew in a process that inherited it by a fork."""


def acquire(count: int) -> torch.Tensor | None:
    """Return an uninitialized float32 tensor of `count` values in a block.

    Returns
    -------
    tensor or None
        None when this process is no DataLoader worker, or all of its blocks are in use.
    """
    global _pool
    if get_worker_info() is None or not count or not _can_share():
        return None
    if _pool is None or _pool.pid != os.getpid():
        _pool = BlockPool()
    values = _pool.acquire(count)
    return None if values is None else torch.from_numpy(values)


def _can_share() -> bool:
    """Whether the main process can open this one's files, as far as this one can tell."""
    return hasattr(os, "memfd_create") and os.access(f"/proc/{os.getppid()}/fd", os.R_OK | os.X_OK)


def send(storage: torch.UntypedStorage) -> Handle | None:
    """Return how another process opens the block behind a storage; None if there is no block."""
    if _pool is None or _pool.pid != os.getpid():
        return None
    block = _pool.find(storage.data_ptr())
    return None if block is None else block.send()


# In the process that receives

_mappings: dict[bytes, tuple[Handle, mmap.mmap]] = {}
"""The blocks that this process has mapped, by token."""

_fork_count = 0
"""How often this process has forked."""


def receive(handle: Handle, count: int) -> torch.Tensor:
    """Return a block's `count` float32 values; it is released when their storage is gone.

    Raises
    ------
    RuntimeError
        When the worker has ended.
    """
    if handle.token not in _mappings:
        _drop_closed_mappings()
        _mappings[handle.token] = handle, _map(handle)
    memory = _mappings[handle.token][1]
    values = _values(memory, count)
    finalizer = weakref.finalize(values, _release, memory, handle.token, os.getpid(), _fork_count)
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
            f"An item from a DataLoader worker cannot be received: {error}. The worker has ended "
            "before the item was received; its own error or the system's log says why."
        ) from None
    if memory[_TOKEN] != handle.token:
        raise RuntimeError(
            "An item from a DataLoader worker cannot be received: the worker has ended, and its "
            "memory is gone."
        )
    return memory


def _release(memory: mmap.mmap, token: bytes, pid: int, fork_count: int) -> None:
    """Count that this process no longer uses the values."""
    if os.getpid() != pid:
        return  # a fork's copy: the parent releases them
    if fork_count == _fork_count:
        _increment(memory, _RELEASED)
    else:
        _increment(memory, _RELEASED_AFTER_FORK)
        _mappings.pop(token, None)


def _drop_closed_mappings() -> None:
    for token, (handle, memory) in list(_mappings.items()):
        if _read_counter(memory, _CLOSED) or not os.path.exists(f"/proc/{handle.pid}"):
            del _mappings[token]


def _count_fork() -> None:
    global _fork_count
    _fork_count += 1


os.register_at_fork(before=_count_fork)


def _values(memory: mmap.mmap, count: int) -> Values:
    return np.frombuffer(memory, np.float32, count, _HEADER_BYTES)


def _read_counter(memory: mmap.mmap, offset: int) -> int:
    return int(struct.unpack_from("<Q", memory, offset)[0])


def _increment(memory: mmap.mmap, offset: int) -> None:
    struct.pack_into("<Q", memory, offset, _read_counter(memory, offset) + 1)
