"""Finding Ray, starting one where there is none, and room on it for workers."""

import contextlib
import gc
import logging
import os
import secrets
import shutil
import sys
import tempfile
import warnings
from collections.abc import Callable, Hashable, Iterator, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any, TypeVar

from equipoise.cluster.reach import answers, first_line, place, silently
from equipoise.cluster.team import Team
from equipoise.cluster.worker import Brief, Worker
from equipoise.errors import EquipoiseError, did_you_mean, import_extra

__all__ = ["Cluster", "find_cluster"]

Item = TypeVar("Item", bound=Hashable)
Result = TypeVar("Result")

_QUIET = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "1",
    "RAY_DEDUP_LOGS_SKIP_REGEX": "^",
    "RAY_ENABLE_AUTO_CONNECT": "0",
}
"""Settings of Ray's, read when it is imported: no statistics, no word of a future default, no pages about a process
that was lost, of which our own errors tell, and no search for another cluster once one is lost."""

_SHORT = "/tmp" if Path("/tmp").is_dir() else tempfile.gettempdir()
"""Where Ray keeps its files. Sockets are among them, whose paths have to be short."""

_OURS = "equipoise-ray-"
"""How the names of the folders of Rays of our own begin; the number of the process follows."""

_TOKEN = secrets.token_hex(32)
"""What a Ray of our own asks of whoever speaks to it; Ray would write one into the home folder."""


def find_cluster(
    on: str,
    *,
    workers: int | None = None,
    cpus: float = 1.0,
    gpus: float | None = None,
    device: str = "auto",
) -> "Cluster | None":
    """The cluster that `on` names, None for "local", once it can be asked for work; nothing is started.

    Arguments:
        on: "local"; "ray", the Ray that this machine is part of, or one of our own when there is none; or
            "ray://HOST:PORT", a cluster elsewhere.
        workers: how many at most; as many as the cluster has room for when None.
        cpus: of each worker, its threads; less than 1 for several on a core.
        gpus: of each worker; less than 1 for several on a GPU. When None, one where the cluster has any.
        device: "auto", "cpu" for no GPU, or "cuda" for at least one. Which GPU is Ray's to choose.

    Raises:
        EquipoiseError: for another name, numbers out of range, a Ray that is not installed or does not answer.
    """
    if on == "local":
        if workers is not None or cpus != 1 or gpus is not None:
            raise EquipoiseError(
                "Cannot give workers to work on 'local', which is this process. Choose on='ray' (--on ray)."
            )
        return None
    if on != "ray" and not on.startswith("ray://"):
        raise EquipoiseError(
            f"Cannot work on {on!r}: it is local, ray or ray://HOST:PORT. "
            f"{did_you_mean(on, ('local', 'ray', 'ray://'))}"
        )
    if workers is not None and workers < 1:
        raise EquipoiseError(f"Cannot work with workers={workers}: it is at least 1.")
    for name, share, least in (("cpus", cpus, 0.01), ("gpus", gpus or 0.0, 0.0)):
        if not share >= least or (share > 1 and share != int(share)):
            raise EquipoiseError(
                f"Cannot give a worker {share:g} {name}: give a fraction, 1, or a larger whole number."
            )
    if device not in ("auto", "cpu", "cuda"):
        raise EquipoiseError(
            f"Cannot work on {on!r} with the device {device!r}: Ray says which GPU is whose. Give auto, cpu or cuda."
        )
    if gpus is not None and device != "auto" and (gpus > 0) != (device == "cuda"):
        raise EquipoiseError(
            f"Cannot give a worker {gpus:g} GPUs and the device {device!r}. Leave one of them out."
        )
    if gpus is None and device != "auto":
        gpus = float(device == "cuda")
    host, port = place(on)
    if on != "ray" and not port:
        raise EquipoiseError(
            f"Cannot work on {on!r}: write ray://HOST:PORT, where the port is 10001 mostly."
        )
    _ray()
    address = _here() if on == "ray" else on
    host, port = place(address or "")
    if port and not answers(host, port):
        whence = "" if address == on else " (RAY_ADDRESS)"
        raise EquipoiseError(
            f"Cannot reach Ray at {address!r}{whence}: nothing answers there. Start it with `ray start --head` on that "
            "machine, or check address and firewall."
        )
    return Cluster(on=on, address=address, workers=workers, cpus=cpus, gpus=gpus)


def _here() -> str | None:
    """The address of the cluster that this machine was made part of, by `ray start`.

    Ray's own search would also find what other programs have started for themselves and soon end.
    """
    if named := os.environ.get("RAY_ADDRESS"):
        return named
    note = Path(os.environ.get("RAY_TMPDIR", _SHORT)) / "ray" / "ray_current_cluster"
    with contextlib.suppress(OSError, UnicodeDecodeError):
        address = note.read_text(encoding="utf-8").strip()
        # A note outlives what it speaks of.
        if answers(*place(address)):
            return address
    return None


@dataclass(frozen=True, kw_only=True)
class Cluster:
    """Ray somewhere, and what each worker gets of it; `find_cluster` makes one.

    Arguments:
        on: how it was named.
        address: ray://HOST:PORT or HOST:PORT; None for the Ray of this machine, or one of our own.
        workers: how many at most; as many as there is room for when None.
        cpus: of each worker.
        gpus: of each worker; one where there are any when None.
    """

    on: str
    address: str | None
    workers: int | None
    cpus: float
    gpus: float | None

    def record(self) -> dict[str, Any]:
        """What a record says of how its work was done; None is as many as there was room for."""
        return {
            "on": self.on,
            "threads": self.threads,
            "workers": self.workers,
            "cpus_per_worker": self.cpus,
            "gpus_per_worker": self.gpus,
        }

    @property
    def threads(self) -> int:
        """Of each worker."""
        return max(1, int(self.cpus))

    def spread(
        self,
        work: Callable[[Item], Result],
        items: Sequence[Item],
        *,
        near: Callable[[Item], Hashable],
        shared: Path | None,
    ) -> Iterator[tuple[Item, Result]]:
        """Calls `work` with every item on some worker, and gives each with its result when it is done.

        Arguments:
            work: can be pickled, tensors on the CPU; every worker has a copy of its own, and keeps it.
            items: in the order in which they are begun, as far as `near` allows.
            near: items for which it gives the same are best done by the same worker.
            shared: a file that this process wrote and every worker has to see; none when None.

        Raises:
            EquipoiseError: when Ray is lost, when there is no room for a worker, when three workers die of one item;
                and whatever `work` raises.
        """
        with self.connected() as ray:
            gpus, size = self._room(ray)
            # In a list, so that a worker itself fetches it, and can say what went wrong.
            try:
                kept = ray.put(work)
            except TypeError as error:
                raise EquipoiseError(
                    f"Cannot send the work to workers: {first_line(error)}. A classifier or a probe of yours holds "
                    "something that stays in its process; make it where it is called."
                ) from error
            brief = Brief(
                work=[kept],
                shared=shared and str(shared),
                folder=str(Path.cwd()),
                modules=list(sys.path),
                version=version("equipoise"),
            )
            kind = ray.remote(Worker).options(num_cpus=self.cpus, num_gpus=gpus)

            def hire() -> tuple[Any, Any]:
                worker = kind.remote()
                return worker, worker.begin.remote(brief, self.threads, gpus)

            with Team(ray, hire, size=size, near=near, pulse=self._pulse(ray)) as team:
                yield from team.do(items)

    @contextlib.contextmanager
    def connected(self, **settings: Any) -> Iterator[Any]:
        """The package ray, connected to the cluster until the end of the block; a caller's own connection is used, and
        stays.

        Arguments:
            settings: of `ray.init`, for a Ray of our own.
        """
        ray = _ray()
        if ray.is_initialized():
            yield ray
            return
        quiet = {"logging_level": "ERROR", "log_to_driver": False}
        with contextlib.ExitStack() as stack:
            stack.callback(_leave, ray)
            if self.address is None:
                _start(ray, stack, **quiet, **settings)
            else:
                try:
                    ray.init(address=self.address, **quiet)
                except Exception as error:
                    raise EquipoiseError(
                        f"Cannot connect to Ray at {self.address!r}: {first_line(error)}. Both sides need the same "
                        "versions of Python and Ray."
                    ) from error
                # Connecting sets its level.
                logging.getLogger("ray.util.client.logsclient").setLevel(logging.CRITICAL)
            yield ray

    def _pulse(self, ray: Any) -> list[tuple[str, int]]:
        """Where Ray listens that has to be alive: the cluster's door for clients, or its head and our own machine."""
        if self.address is not None and self.address.startswith("ray://"):
            return [place(self.address)]
        here = ray.get_runtime_context()
        found = [place(here.gcs_address)]
        for node in ray.nodes():
            if node["NodeID"] == here.get_node_id():
                found.append((node["NodeManagerAddress"], node["NodeManagerPort"]))
        # A caller that is connected as a client cannot ask them all.
        return [(host, port) for host, port in found if answers(host, port)]

    def _room(self, ray: Any) -> tuple[float, int]:
        """GPUs for each worker, and how many workers.

        Raises:
            EquipoiseError: when not even one fits, or fewer than asked for.
        """
        nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
        gpus = self.gpus
        if gpus is None:
            gpus = float(any(node.get("GPU") for node in nodes))
        fits = [
            min(int(node.get(kind, 0) / each + 1e-9) for kind, each in wants if each)
            for wants in [(("CPU", self.cpus), ("GPU", gpus))]
            for node in nodes
        ]
        wanted = self.workers or 1
        if sum(fits) < wanted:
            has = "; ".join(f"{n.get('CPU', 0):g} CPUs, {n.get('GPU', 0):g} GPUs" for n in nodes)
            raise EquipoiseError(
                f"Cannot place {wanted} workers of {self.cpus:g} CPUs and {gpus:g} GPUs on the machines of {self.on!r} "
                f"({has}). Ask for less (--workers, --cpus-per-worker, --gpus-per-worker), or add machines."
            )
        return gpus, self.workers or sum(fits)


def _start(ray: Any, stack: contextlib.ExitStack, **settings: Any) -> None:
    """A Ray on this machine that ends with this process, whatever ends it."""
    _sweep()
    folder = tempfile.mkdtemp(prefix=f"{_OURS}{os.getpid()}-", dir=_SHORT)
    stack.callback(shutil.rmtree, folder, ignore_errors=True)
    if "RAY_AUTH_TOKEN" not in os.environ and "RAY_AUTH_TOKEN_PATH" not in os.environ:
        os.environ["RAY_AUTH_TOKEN"] = _TOKEN
        stack.callback(os.environ.pop, "RAY_AUTH_TOKEN", None)
    try:
        ray.init(address="local", include_dashboard=False, _temp_dir=folder, **settings)
    except Exception as error:
        raise EquipoiseError(f"Cannot start Ray here: {first_line(error)}.") from error


def _sweep() -> None:
    """Removes what Rays of our own left behind whose process was killed."""
    for folder in Path(_SHORT).glob(f"{_OURS}*"):
        pid = folder.name.removeprefix(_OURS).partition("-")[0]
        try:
            os.kill(int(pid), 0)
        except ProcessLookupError:
            shutil.rmtree(folder, ignore_errors=True)
        except (ValueError, OSError):  # another's
            continue


def _leave(ray: Any) -> None:
    silently(ray.shutdown)
    # Ray leaves files open, of which Python would complain sooner or later.
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        gc.collect()


def _ray() -> Any:
    """Ray, speaking only where the user's settings say so.

    Raises:
        EquipoiseError: when it is not installed.
    """
    for name, value in _QUIET.items():
        os.environ.setdefault(name, value)
    return import_extra("ray", extra="ray", feature="Work on a cluster (--on ray)")
