"""Execution engine: runs on an existing Ray cluster whose nodes share the study's folder.

Ray only chooses a node with enough free cores and GPUs. On the node, an `Attempt` executes the run as on one machine:
the folder's lock prevents duplicate work, and the run resumes from its checkpoint. If a task dies with its node or its
process is killed, the attempt counts as stopped from outside, and the run is started elsewhere.
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
from hadamax.studies.runs import PlannedRun, State, state_of

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
    """Engine that runs on the nodes of a Ray cluster.

    Args:
        study: folder of the study, absolute and the same on every node.
        workers: maximum number of concurrent runs; None: as many as fit.
        gpus: GPUs per run; below 1, a share of one.

    Raises:
        UserError: Ray is not installed, the address does not respond, or no node is large enough.
    """

    def __init__(self, study: Path, address: str, *, workers: int | None, gpus: float, threads: int) -> None:
        self.study, self.address, self.workers, self.gpus = study, address, workers, gpus
        self.tasks: dict[Any, PlannedRun] = {}
        self.ray = connect(address)
        self._require_large_enough_node(threads)
        study.mkdir(parents=True, exist_ok=True)
        self.mark = _folder_id(study)
        self._task = self.ray.remote(attempt)

    def has_room(self) -> bool:
        return self.workers is None or len(self.tasks) < self.workers

    def start(self, run: PlannedRun) -> Outcome | None:
        if state_of(self.study / run.name) is State.RUNNING:  # do not occupy a place in Ray's queue
            return Outcome(run.name, taken=True)
        options = {
            "name": run.name,
            "num_cpus": run.threads,
            "num_gpus": self.gpus,
            "max_retries": 0,  # retries are decided by `work`, which records them in the ledger
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
        with contextlib.suppress(Exception):  # the cluster may no longer exist
            for task in self.tasks:
                self.ray.cancel(task, force=False)
            self.ray.wait(list(self.tasks), num_returns=len(self.tasks), timeout=SECONDS_TO_STOP)
        self.tasks = {}
        self.ray.shutdown()

    def _outcome(self, task: Any, run: PlannedRun) -> Outcome:
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
            there = f"the cluster at {self.address!r} does not respond any more"
            raise UserError(f"ray_address: {there}; repeat the command to resume") from None
        except lost.RayError as error:  # its worker process or node died
            return stopped(run, self.study, type(error).__name__)

    def _require_large_enough_node(self, threads: int) -> None:
        """Raise an error instead of letting Ray wait forever for a node that is large enough."""
        nodes = [node["Resources"] for node in self.ray.nodes() if node["Alive"]]
        most = {kind: max((node.get(kind, 0.0) for node in nodes), default=0.0) for kind in ("CPU", "GPU")}
        for name, wanted, kind, what in (("threads", threads, "CPU", "cores"), ("gpus", self.gpus, "GPU", "GPUs")):
            if wanted > most[kind]:
                self.ray.shutdown()
                raise UserError(
                    f"{name}: {wanted:g} per run exceeds every node of the cluster; "
                    f"expected up to {most[kind]:g} {what}"
                )


def _folder_id(study: Path) -> str:
    """Return a random identifier stored in the study's folder, by which nodes verify that they share the folder."""
    if not (study / MARK).exists():
        write_atomically(study / MARK, secrets.token_hex(8).encode())
    return (study / MARK).read_text()


def attempt(run: PlannedRun, study: str, mark: str) -> Outcome:
    """Execute one attempt at a run on the node chosen by Ray. If cancelled, the run writes a checkpoint.

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
    """Connect to a cluster and return the module `ray`.

    Raises:
        UserError: Ray is not installed, or the address does not respond.
    """
    if not find_spec("ray"):
        raise UserError("engine: 'ray' needs an extra: pip install 'hadamax-rl[ray]'")
    for name, value in QUIET.items():
        os.environ.setdefault(name, value)
    address = os.environ.get("RAY_ADDRESS", address) if address == "auto" else address
    _require_response(address)
    import ray

    try:
        ray.init(address=address, log_to_driver=False, logging_level="CRITICAL")
    except ConnectionError as error:
        there = "there is no cluster on this machine" if address == "auto" else " ".join(str(error).split())[:200]
        raise UserError(f"ray_address: {address!r}: {there}; expected HOST:PORT of one, or: ray start --head") from None
    except (ValueError, RuntimeError) as error:  # for example, a cluster of another Ray version
        reason = " ".join(str(error).split())[:200]
        raise UserError(f"ray_address: {address!r} is not a usable Ray cluster: {reason}") from None
    return ray


def _require_response(address: str) -> None:
    """Check that a gRPC server responds at the address, because Ray itself would retry for minutes."""
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
        reason = "the server there is not Ray"
    raise UserError(f"ray_address: no Ray cluster at {address!r}: {reason}; start one with: ray start --head")
