"""A race: rivals are made at once, prove their losses, take turns, and prove their losses again.

What needs a quiet card, the first steps and the turns, is done by one rival at a time; all else by all at once. Must
not learn how an engine works.
"""

import time
from concurrent.futures import ThreadPoolExecutor, wait

from helpers.benchmark import interleave
from helpers.device import gpu_available
from helpers.host_memory import available_bytes
from helpers.suites.rivals import FEWER_RUNS, PROOF_STEPS, Absent, Rival, absence, oracle
from helpers.suites.workloads import make_workload
from helpers.workers import WorkerError, Workers

RUNS = 9
PROCESS_BYTES = 0.9e9  # about what a framework's process keeps of the host's memory
# XLA keeps there which algorithms it found the fastest: its forms share the choice, and later cells need not repeat it
SHARED_CACHES = ("JAX_COMPILATION_CACHE_DIR",)
NO_ROOM = "this machine's memory has no room for one more process of {:.1f} GB"


class Race:
    """Systems on one workload, live until the race is closed.

    Parameters
    ----------
    workload : dict
        Arguments of `make_workload`.
    systems : sequence of System
    batch_size : int
    proof_steps : int
        Steps whose losses are held against float64, at most.
    precision : str
    log : callable, optional
        Told how long each part of the race took.
    workers : Workers, optional
        Lends processes, which serve the next race as well; by default this one has its own.

    Attributes
    ----------
    rivals : dict of System to Rival
        Those that run here.
    absent : dict of System to str
        The others, with the reason.
    references : dict of int to (ndarray, ndarray)
        By batch: the first losses in float64, and how far rounding may take them away.
    named : dict
        What every record of it says: network, dataset, batch_size, precision.
    """

    def __init__(
        self, workload, systems, batch_size, proof_steps=PROOF_STEPS, precision="fp32", log=None, workers=None
    ):
        self.work, self._log = make_workload(**workload), log or (lambda text: None)
        self._workers, self._own_workers, self._lent = workers or Workers(SHARED_CACHES), workers is None, {}
        systems = [system for system in systems if workload["network"] not in system.skips]
        self.absent = {system: "it needs a GPU" for system in systems if system.gpu and not gpu_available()}
        here = [system for system in systems if system not in self.absent]
        room = int(max(1, min(len(here), available_bytes() // PROCESS_BYTES)))
        self.absent |= dict.fromkeys(here[room:], NO_ROOM.format(PROCESS_BYTES / 1e9))
        self.rivals = dict.fromkeys(here[:room])
        self._pool = ThreadPoolExecutor(max(1, len(systems)))
        self._since = time.perf_counter()
        self._log(f"starting {len(self.rivals)} systems and forms, each in a process of its own; that takes a minute")
        named = {"network": self.work.network.name, "dataset": self.work.label}
        self.named = {**named, "batch_size": batch_size, "precision": precision}
        try:
            self._settle(self._make(workload, proof_steps))
        except BaseException:
            self.close()
            raise

    def _make(self, workload, proof_steps):
        """{System: future of its Rival} of all, once they are made."""
        batch_size, precision = self.named["batch_size"], self.named["precision"]
        self._lent = {system: self._workers.take(system.name, system.environment) for system in self.rivals}
        made = {
            system: self._pool.submit(_start, worker, system, workload, batch_size, proof_steps, precision)
            for system, worker in self._lent.items()
        }
        samples = len(self.work.dataset.train_labels)
        self.references = {  # one core is busy with them while the others start
            batch: oracle(self.work, batch, min(proof_steps, samples // batch), precision)
            for batch in {system.batch_for(workload, batch_size) for system in self.rivals}
        }
        wait(made.values())
        self._part("made")
        return made

    def _settle(self, made):
        """Keep those that could be made; a framework that fails before it could prove anything is absent."""
        for system, future in made.items():
            try:
                self.rivals[system] = rival = future.result()
                if not system.on_host:
                    rival.settle()
                times = f"started in {rival.start_seconds:.1f} s, settled in {rival.settle_seconds:.1f} s"
                self._log(f"{system.name}: {times}")
            except Absent as reason:
                self._leave_out(system, str(reason))
            except WorkerError as error:
                if not system.framework:
                    raise
                self._leave_out(system, f"it fails here: {str(error).splitlines()[0]}")
        self._part("settled")

    def _leave_out(self, system, reason):
        del self.rivals[system]
        self.absent[system] = reason

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        """End all processes, or give them back."""
        self._pool.shutdown(cancel_futures=True)
        lent, self._lent = self._lent, {}
        for system, worker in lent.items():
            self._workers.give(system.name, worker)
        if self._own_workers:
            self._workers.close()

    def prove(self):
        """Hold the first losses of all against float64, but of those whose turn takes many seconds once only.

        Raises
        ------
        AssertionError
            Where a loss leaves the bound.
        """
        due = [rival for rival in self.rivals.values() if rival.losses is None or rival.turn_seconds < max(FEWER_RUNS)]
        list(self._pool.map(lambda rival: rival.prove(*self.references[rival.slice_batch]), due))
        self._part("proved")

    def run(self, runs=RUNS):
        """Seconds of each turn, {System: list of float}; slow ones take fewer turns than `runs`.

        The first turn of a framework does not count: in it the order of the epoch is made.
        """
        for system, rival in self.rivals.items():
            if system.framework:
                rival.turn()
        turns = {system: rival.runs(runs) for system, rival in self.rivals.items()}
        seconds = interleave({system: rival.turn for system, rival in self.rivals.items()}, turns)
        self._part("raced")
        return seconds

    def records(self, seconds, experiment):
        """Records of an epoch's time, from the `seconds` of the turns."""
        batch_size = self.named["batch_size"]
        images = len(self.work.dataset.train_labels) // batch_size * batch_size
        base = {"experiment": experiment, **self.named}
        return [rival.record(base, seconds[system], images) for system, rival in self.rivals.items()]

    def _part(self, name):
        now = time.perf_counter()
        self._log(f"{name} in {now - self._since:.1f} s")
        self._since = now


def _start(worker, system, *arguments):
    """A Rival; one that works on the host alone chooses nothing that a busy card could spoil, so it settles at once."""
    rival = Rival(worker, system, *arguments)
    return rival.settle() if system.on_host else rival


def _print(text):
    print(f"  {text}", flush=True)


def measure(
    workload,
    systems,
    batch_size=128,
    runs=RUNS,
    proof_steps=PROOF_STEPS,
    precision="fp32",
    experiment="epoch_time",
    workers=None,
):
    """Records of an epoch's time of all systems that this machine can run, and "absent" ones of missing frameworks.

    Parameters
    ----------
    workload, systems, batch_size, proof_steps, precision, workers
        As in `Race`.
    runs : int
    experiment : str

    Returns
    -------
    list of dict
        The share of the allowed gap that a system's losses used at most is its `agreement`.
    """
    with Race(workload, systems, batch_size, proof_steps, precision, _print, workers) as race:
        race.prove()
        seconds = race.run(runs)
        race.prove()
    records = race.records(seconds, experiment)
    for record in records:
        _print(f"{record['system']} ({record['form']}): {record['median']:.1f} ms")
    return records + [absence(race.named, system, reason) for system, reason in race.absent.items() if system.framework]
