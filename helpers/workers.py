"""Worker processes: every rival lives in a process of its own and answers one request at a time.

Knows how requests travel (one JSON object a line) and the engine protocol; must not learn about suites or records.
"""

import atexit
import gc
import json
import os
import subprocess
import sys
import tempfile
import time
from contextlib import suppress

import numpy as np

from helpers.results import ROOT

REQUESTS = ("make", "prepare", "train", "activity", "restart", "evaluate", "memory", "trim")


class WorkerError(RuntimeError):
    """A worker refused a request or ended; the message is the worker's own."""


class Worker:
    """A live process that answers requests.

    Parameters
    ----------
    command : list of str, optional
        Program to start; by default `python -m helpers.benchmark worker`.
    environment : dict, optional
        Variables added to this process's own.
    """

    def __init__(self, command=None, environment=None):
        self._process = subprocess.Popen(
            command or [sys.executable, "-m", "helpers.benchmark", "worker"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=ROOT,
            env={**os.environ, **(environment or {})},
        )

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def call(self, request, **arguments):
        """Send a request and wait for its answer, a dict.

        Raises
        ------
        WorkerError
            With the worker's message, or where it ended without an answer.
        """
        try:
            self._process.stdin.write(json.dumps({"request": request, **arguments}) + "\n")
            self._process.stdin.flush()
            line = self._process.stdout.readline()
        except BrokenPipeError:
            line = ""
        if not line:
            raise WorkerError(f"the worker ended during {request!r} with status {self._process.wait()}")
        answer = json.loads(line)
        if "error" in answer:
            raise WorkerError(answer["error"])
        return answer

    @property
    def alive(self):
        """Whether the process is there."""
        return self._process.poll() is None

    def end_input(self):
        """Let the process end by itself: it stops when its input ends."""
        with suppress(BrokenPipeError):  # it has ended with a request unread
            self._process.stdin.close()

    def close(self):
        """End the process."""
        self.end_input()
        try:
            self._process.wait(timeout=30)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process.stdout.close()


class Workers:
    """Live processes by name; one that is given back serves the next who asks for its name: a start takes seconds.

    Parameters
    ----------
    caches : iterable of str
        Variables that name a folder of compiled code: here one that is empty at first, shared by those processes that
        have the same environment, for in another one a choice that was kept may be wrong.
    """

    def __init__(self, caches=()):
        self._all, self._free, self._caches, self._folders = [], {}, tuple(caches), {}
        atexit.register(self.close)  # a process that outlives this one would hold memory while the next suite measures

    def take(self, name, environment=None):
        """A Worker that nobody else has: one of this name that was given back and lives, or a new one."""
        free = self._free.setdefault(name, [])
        while free:
            worker = free.pop()
            if worker.alive:
                return worker
        self._all.append(Worker(environment={**self._shared(environment), **(environment or {})}))
        return self._all[-1]

    def _shared(self, environment):
        """Variables of the caches, for a process of this environment."""
        if not self._caches:
            return {}
        key = tuple(sorted((environment or {}).items()))
        if key not in self._folders:
            self._folders[key] = tempfile.TemporaryDirectory()
        return dict.fromkeys(self._caches, self._folders[key].name)

    def give(self, name, worker):
        """Give a worker back."""
        self._free[name].append(worker)

    def close(self):
        """End all processes at once: each takes seconds to give its memory back. The end of this one does it too."""
        atexit.unregister(self.close)
        workers, self._all, self._free = self._all, [], {}
        folders, self._folders = self._folders, {}
        for worker in workers:
            worker.end_input()
        for worker in workers:
            worker.close()
        for folder in folders.values():
            folder.cleanup()


def serve(handlers, requests, answers):
    """Answer requests until they end.

    Parameters
    ----------
    handlers : dict of name to callable
        Each takes the request's other keys and returns a dict.
    requests, answers : text streams
        One JSON object a line.
    """
    for line in requests:
        arguments = json.loads(line)
        name = arguments.pop("request", None)
        try:
            if name not in handlers:
                raise ValueError(f"request is {name!r}; expected {', '.join(map(repr, handlers))}")
            answer = handlers[name](**arguments)
        except Exception as error:  # the process must outlive a refused request
            answer = {"error": f"{type(error).__name__}: {error}"}
        answers.write(json.dumps(answer) + "\n")
        answers.flush()


class EngineServer:
    """Handlers of one engine; `make_engine(name, network, optimizer, ...)` and `workload` make it and its data."""

    def __init__(self, make_engine, workload):
        self._make_engine, self._workload, self._engine = make_engine, workload, None

    @property
    def handlers(self):
        """Name to function, for `serve`."""
        return {name: getattr(self, name) for name in REQUESTS}

    def make(self, engine, workload, options=None, **settings):
        """Make the engine and load its data; answers steps per epoch, the seconds spent compiling, and the device."""
        work, self._engine = self._workload(**workload), None
        self.trim()  # an engine that was there before gives its memory back
        self._engine = self._make_engine(engine, work.network, work.optimizer, **settings, **(options or {}))
        self._engine.load(work.dataset)
        seconds = getattr(self._engine, "compile_seconds", 0.0)
        on_gpu = bool(getattr(self._engine, "on_gpu", False))
        return {"steps_per_epoch": self._engine.steps_per_epoch, "compile_seconds": seconds, "on_gpu": on_gpu}

    def prepare(self, epoch):
        """Let the engine make an epoch's order, by a step of that epoch that is taken back."""
        state = self._engine.state()
        self._engine.train(epoch, 1, 1)
        self._engine.load_state(state)
        return {}

    def train(self, epoch=0, steps=None):
        """Train one epoch or its first steps; answers seconds by the host's clock and the losses."""
        start = time.perf_counter()
        losses = self._engine.train(epoch, 1, steps)  # ends with the losses on the host: all work is done
        seconds = time.perf_counter() - start
        return {"seconds": seconds, "losses": np.asarray(losses[0], np.float64).tolist()}

    def activity(self, epoch=0, steps=None):
        """What kernels the card runs while the first steps of an epoch are trained, as `activity.kernel_summary`."""
        from helpers.activity import activity, kernel_summary

        def run():
            self._engine.train(epoch, 1, steps)

        activity(run)  # the profiler's own start is not part of it
        return kernel_summary(activity(run))

    def trim(self):
        """Give the card what this process keeps of its memory without using it, for others to use."""
        gc.collect()
        torch = sys.modules.get("torch")  # of the frameworks the one that gives memory back when asked to
        if torch is not None and torch.cuda.is_initialized():
            torch.cuda.empty_cache()
        return {}

    def restart(self):
        """Return to the state before the first step."""
        self._engine.load_state(self._engine.initial_state())
        return {}

    def evaluate(self, split="test"):
        """Loss and accuracy of a split."""
        return {key: float(value) for key, value in self._engine.evaluate(split).items()}

    def memory(self):
        """Bytes by purpose, as the engine states them."""
        return {purpose: int(size) for purpose, size in self._engine.memory.items()}


def serve_engine():
    """Serve one engine on standard input and output; whatever prints meanwhile goes to standard error."""
    from helpers.engines import make_engine
    from helpers.suites.workloads import make_workload

    with os.fdopen(os.dup(1), "w") as answers:
        os.dup2(2, 1)
        serve(EngineServer(make_engine, make_workload).handlers, sys.stdin, answers)
