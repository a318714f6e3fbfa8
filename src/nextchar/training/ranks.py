"""Several processes that train one network: how they share the batch, add gradients and agree, over torch.distributed.

The first process leads. It reads files, plans, measures, validates and writes; the others carry out its orders
(`training/follow.py`). What depends on the clock is decided by it alone, so that all make the same steps.
"""

import json
import os
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor
from torch.distributed.distributed_c10d import PrefixStore
from torch.distributed.rendezvous import rendezvous

from nextchar.errors import ConfigError, NextcharError
from nextchar.kernels.threads import available_cores
from nextchar.training import launch

PATIENCE = timedelta(days=1)  # of one message: the first process may encode a long text meanwhile
CONNECT = timedelta(minutes=5)  # until all processes must have started
BEAT_SECONDS = 2.0  # between two signs of life
LOST_SECONDS = 20.0  # without one, after which a process counts as lost
LOST = (
    "another process of this training was lost, so all of them end; the last snapshot is saved; the same torchrun "
    "command with `train --resume DIR` goes on from it"
)


class Ranks:
    """The processes of one training, seen from one of them. Alone, it is all of them, and no message is sent.

    Attributes:
        rank: The number of this process; 0 leads.
        world: How many there are.
    """

    def __init__(self, rank: int = 0, world: int = 1) -> None:
        self.rank, self.world = rank, world
        self._ended, self._broken = threading.Event(), False
        self._store: Any = None

    @property
    def leads(self) -> bool:
        """Whether this process reads, decides, writes and shows."""
        return self.rank == 0

    def rows(self, batch_size: int) -> tuple[int, int]:
        """Return this process's rows of the batch, as `(first, after last)`.

        Raises:
            ConfigError: There are fewer rows than processes.
        """
        if batch_size < self.world:
            raise ConfigError(
                f"the batch size is {batch_size}, but {self.world} processes train, and each needs a row of the batch; "
                f"start fewer, or give --batch-size {self.world} or more"
            )
        return self.rank * batch_size // self.world, (self.rank + 1) * batch_size // self.world

    def sum(self, values: Tensor) -> Tensor:
        """Replace values by their sum over all processes; the order of the addition is fixed, so it can be repeated."""
        if self.world > 1:
            with self._connected():
                dist.all_reduce(values)
        return values

    def agree(self, *values: float, stop: bool = False) -> tuple[list[float], bool]:
        """Return the values of the first process in all of them, and whether any of them wants to stop."""
        if self.world == 1:
            return list(values), stop
        said = torch.tensor([*values, stop] if self.leads else [*[0.0] * len(values), stop], dtype=torch.float64)
        *known, stops = self.sum(said).tolist()
        return known, stops > 0

    def broadcast(self, order: Mapping[str, Any], content: bytes = b"") -> None:
        """Send an order, as JSON, and bytes to all other processes."""
        if self.world > 1:
            message = json.dumps(order).encode()
            with self._connected():
                dist.broadcast(torch.tensor([len(message), len(content)]), 0)
                dist.broadcast(torch.frombuffer(bytearray(message + content), dtype=torch.uint8), 0)

    def receive(self) -> tuple[dict[str, Any], bytes]:
        """Return the next order of the first process, and its bytes."""
        sizes = torch.zeros(2, dtype=torch.int64)
        with self._connected():
            dist.broadcast(sizes, 0)
            message = torch.empty(int(sizes.sum()), dtype=torch.uint8)
            dist.broadcast(message, 0)
        whole, cut = message.numpy().tobytes(), int(sizes[0])
        return json.loads(whole[:cut]), whole[cut:]

    # -- the connection ------------------------------------------------------------------------------------------

    @contextmanager
    def _connected(self) -> Iterator[None]:
        """Turn the error of a broken connection into one sentence."""
        try:
            yield
        except RuntimeError:
            self._broken = True
            raise NextcharError(LOST) from None

    def abandon(self) -> None:
        """End in the middle of a step, without waiting for the others."""
        self._broken = True

    def leave(self) -> None:
        """End the connection, when all processes have done their work."""
        if self._broken or self.world == 1:
            return
        if self.leads:
            self.broadcast({"do": "end"})
        self._ended.set()
        self.agree()
        dist.destroy_process_group()

    def reports_first(self) -> bool:
        """Return whether no other process has reported an error yet."""
        self._ended.set()
        try:
            return int(self._store.add("reported", 1)) == 1
        except RuntimeError:
            return True

    def watch(self, store: Any) -> None:
        """Show signs of life, and end this process when another shows none: one that hangs closes no connection."""
        self._store = store
        mine = store.clone()  # a wait in one thread would block another on the same connection
        watched = range(1, self.world) if self.leads else range(1)
        last = {other: (0, time.monotonic()) for other in watched}

        def beat() -> None:
            while not self._ended.wait(BEAT_SECONDS):
                timer = threading.Timer(LOST_SECONDS, self._give_up, [True])
                timer.daemon = True
                timer.start()
                try:
                    mine.add(f"alive/{self.rank}", 1)
                    for other in watched:
                        count = mine.add(f"alive/{other}", 0)
                        if count != last[other][0]:
                            last[other] = (count, time.monotonic())
                except RuntimeError:
                    return  # the store is gone, and so are the processes; each one that waits for them reports it
                finally:
                    timer.cancel()
                if any(time.monotonic() - when > LOST_SECONDS for _, when in last.values()):
                    self._give_up(self.reports_first())

        threading.Thread(target=beat, daemon=True, name="nextchar-alive").start()

    @staticmethod
    def _give_up(report: bool) -> None:
        """End this process at once: its main thread waits for a process that does not answer."""
        with suppress(OSError):
            if report:
                sys.stderr.write(f"nextchar: error: {LOST}\n")
                sys.stderr.flush()
        os._exit(1)


ALONE = Ranks()


def connect() -> Ranks:
    """Connect to the other processes that torchrun has started: NCCL for tensors on GPUs, gloo for others.

    Raises:
        NextcharError: They cannot be reached.
    """
    ranks = Ranks(launch.rank(), launch.world())
    backend = "gloo"
    if torch.cuda.is_available() and dist.is_nccl_available():
        torch.cuda.set_device(int(os.environ.get("LOCAL_RANK", "0")) % torch.cuda.device_count())
        backend = "cpu:gloo,cuda:nccl"
    # torchrun tells torch to use one thread; the share of the cores is larger on most machines.
    torch.set_num_threads(available_cores())
    try:
        store, _, _ = next(rendezvous("env://", timeout=CONNECT))
        # torchrun's store outlives a restart, and would still hold the addresses of processes that have ended.
        store = PrefixStore(f"attempt-{launch.attempt()}", store)
        store.set(f"here/{ranks.rank}", "")
        store.wait([f"here/{rank}" for rank in range(ranks.world)], CONNECT)
        dist.init_process_group(backend, store=store, rank=ranks.rank, world_size=ranks.world, timeout=PATIENCE)
    except (RuntimeError, ValueError, OSError) as error:
        where = f"{os.environ.get('MASTER_ADDR')}:{os.environ.get('MASTER_PORT')}"
        raise NextcharError(
            f"the {ranks.world} processes that WORLD_SIZE promises cannot connect at {where}: {str(error).splitlines()[0]}; "
            f"start all of them by torchrun, or unset WORLD_SIZE and MASTER_ADDR to train with one"
        ) from None
    ranks.watch(store)
    return ranks
