"""Runs on an existing Ray cluster, whose nodes share the study's folder.

Ray only decides where a run goes: to a node with so many cores and cards free. What happens there is an `Attempt`, as
on one machine: the run's lock decides who works on it, its checkpoint where it goes on. A task that dies with its node,
or whose process is killed, comes back as stopped from outside, and the run goes elsewhere.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import socket
import time
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from hadamax.errors import UserError
from hadamax.files import write_atomically
from hadamax.studies.attempt import Attempt, Outcome, stopped
from hadamax.studies.runs import Run, State, state_of

SECONDS_TO_ANSWER = 5.0
SECONDS_TO_STOP = 120.0
MARK = ".shared"
QUIET = {
    "GRPC_VERBOSITY": "NONE",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    "RAY_LOG_TO_DRIVER": "0",
    "RAY_USAGE_STATS_ENABLED": "0",
}


class OnRay:
    """An engine of the nodes of a cluster.

    Args:
        study: folder of the study, absolute and the same on every node.
        workers: runs at a time; None: as many as there is room for.
        gpus: cards of each run; below 1 a share of one.

    Raises:
        UserError: Ray is not installed, nobody answers at the address, or no node is large enough.
    """

    def __init__(self, study: Path, address: str, *, workers: int | None, gpus: float, threads: int) -> None:
        self.study, self.address, self.workers, self.gpus = study, address, workers, gpus
        self.tasks: dict[Any, Run] = {}
        self.ray = connect(address)
        self._require_a_place(threads)
        study.mkdir(parents=True, exist_ok=True)
        self.mark = _mark(study)
        self._task = self.ray.remote(attempt)

    def has_room(self) -> bool:
        return self.workers is None or len(self.tasks) < self.workers

    def start(self, run: Run) -> Outcome | None:
        if state_of(self.study / run.name) is State.RUNNING:  # nobody's place in the queue for that
            return Outcome(run.name, taken=True)
        options = {
            "name": run.name,
            "num_cpus": run.threads,
            "num_gpus": self.gpus,
            "max_retries": 0,  # ours: the ledger tells of each
            "scheduling_strategy": "SPREAD",
        }
        self.tasks[self._task.options(**options).remote(run, str(self.study), self.mark)] = run
        return None

    def outcomes(self) -> list[Outcome]:
        if not self.tasks:
            time.sleep(0.1)
            return []
        ended, _ = self.ray.wait(list(self.tasks), timeout=0.5)
        return [self._outcome(task, self.tasks.pop(task)) for task in ended]

    def stop(self) -> None:
        with contextlib.suppress(Exception):  # a cluster that is gone has stopped
            for task in self.tasks:
                self.ray.cancel(task, force=False)
            self.ray.wait(list(self.tasks), num_returns=len(self.tasks), timeout=SECONDS_TO_STOP)
        self.tasks = {}
        self.ray.shutdown()

    def _outcome(self, task: Any, run: Run) -> Outcome:
        lost = self.ray.exceptions
        try:
            outcome: Outcome = self.ray.get(task)
            return outcome
        except lost.RayTaskError as error:
            cause = error.cause
            if isinstance(cause, UserError):
                raise cause from None
            return Outcome(run.name, " ".join(f"{type(cause).__name__}: {cause}".split()))
        except lost.LocalRayletDiedError:
            there = f"the cluster at {self.address!r} does not answer any more"
            raise UserError(f"ray_address: {there}; what was done stays, and the same command goes on") from None
        except lost.RayError as error:  # its worker or its node is gone
            return stopped(run, self.study, type(error).__name__)

    def _require_a_place(self, threads: int) -> None:
        """A task that no node can take would wait without a word."""
        nodes = [node["Resources"] for node in self.ray.nodes() if node["Alive"]]
        most = {kind: max((node.get(kind, 0.0) for node in nodes), default=0.0) for kind in ("CPU", "GPU")}
        for name, wanted, kind, what in (("threads", threads, "CPU", "cores"), ("gpus", self.gpus, "GPU", "cards")):
            if wanted > most[kind]:
                self.ray.shutdown()
                raise UserError(
                    f"{name}: {wanted:g} of each run is more than any node of the cluster has; "
                    f"expected up to {most[kind]:g} {what}"
                )


def _mark(study: Path) -> str:
    """What the study's folder is known by, made once: nodes that find it share the folder."""
    if not (study / MARK).exists():
        write_atomically(study / MARK, secrets.token_hex(8).encode())
    return (study / MARK).read_text()


def attempt(run: Run, study: str, mark: str) -> Outcome:
    """One attempt at a run, on the node that Ray chose. Cancelled, it has the run write a checkpoint.

    Raises:
        UserError: this node does not share the study's folder.
    """
    try:
        shared = (Path(study) / MARK).read_text()
    except OSError:
        shared = ""
    if shared != mark:
        raise UserError(f"out: {study} is not the same folder on the node {socket.gethostname()}; it has to be shared")
    begun = Attempt.begin(run, Path(study), {})
    if isinstance(begun, Outcome):
        return begun
    try:
        while (outcome := begun.outcome()) is None:
            time.sleep(0.05)
        return outcome
    finally:
        if begun.process.poll() is None:
            begun.stop()
            begun.process.wait()


def connect(address: str) -> Any:
    """The module `ray`, connected to a cluster.

    Raises:
        UserError: it is not installed, or nobody answers at the address.
    """
    if not find_spec("ray"):
        raise UserError("engine: 'ray' needs an extra: pip install 'hadamax[ray]'")
    for name, value in QUIET.items():
        os.environ.setdefault(name, value)
    address = os.environ.get("RAY_ADDRESS", address) if address == "auto" else address
    _require_a_listener(address)
    import ray

    try:
        ray.init(address=address, log_to_driver=False, logging_level="CRITICAL")
    except ConnectionError as error:
        there = "there is no cluster on this machine" if address == "auto" else " ".join(str(error).split())[:200]
        raise UserError(f"ray_address: {address!r}: {there}; expected HOST:PORT of one, or: ray start --head") from None
    except (ValueError, RuntimeError) as error:  # of another version, for one
        reason = " ".join(str(error).split())[:200]
        raise UserError(f"ray_address: {address!r} is not a Ray cluster that can be used: {reason}") from None
    return ray


def _require_a_listener(address: str) -> None:
    """Ray itself would try for minutes. Its nodes speak gRPC, so whoever listens has to."""
    if address == "auto":
        return
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if not host or not port.isdecimal() or not 0 < int(port) < 2**16:
        raise UserError(f"ray_address: {address!r} is not an address; expected HOST:PORT, as in 10.0.0.1:6379, or auto")
    reason = "no answer"
    try:
        socket.create_connection((host, int(port)), SECONDS_TO_ANSWER).close()
        if os.environ.get("RAY_USE_TLS", "0") != "0":
            return
        import grpc

        with grpc.insecure_channel(f"{host}:{port}") as channel:
            grpc.channel_ready_future(channel).result(timeout=SECONDS_TO_ANSWER)
            return
    except OSError as error:
        reason = error.strerror or str(error)
    except grpc.FutureTimeoutError:
        reason = "who listens there is not Ray"
    raise UserError(f"ray_address: nobody answers at {address!r}: {reason}; start a cluster with: ray start --head")
