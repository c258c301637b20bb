"""Celery with its results: groups, chains and chords of tasks, some that fail at first, by two workers of four processes each.

    this process:  sends tasks ─> broker, database 0 ─> workers ─> results, database 1 ─> this process
                   counts, in database 2:  each task has run once, and once more for each time that it was to fail
"""
import os
import signal
import subprocess
import sys

import celery
import celery.exceptions
import redis

PORT = sys.argv[1] if __name__ == "__main__" else os.environ["SERVER_PORT"]
URL = f"redis://127.0.0.1:{PORT}"
TASKS = 1500
RETRIED = 60
CHORDS = 20
WORKERS = 2
PATIENCE_S = 200

app = celery.Celery("torc", broker=f"{URL}/0", backend=f"{URL}/1")
app.conf.update(worker_prefetch_multiplier=4, broker_connection_retry_on_startup=True, result_expires=600)
counts = redis.Redis.from_url(f"{URL}/2")


@app.task(name="add")
def add(name, a, b):
    counts.hincrby("runs", name, 1)
    return a + b


@app.task(name="add_to")
def add_to(a, name, b):
    return add(name, a, b)


@app.task(name="total")
def total(numbers, name):
    counts.hincrby("runs", name, 1)
    return sum(numbers)


@app.task(name="fails_at_first", bind=True, max_retries=3, default_retry_delay=0.05)
def fails_at_first(self, name, number):
    counts.hincrby("runs", name, 1)
    if self.request.retries == 0:
        raise self.retry()
    return number


def start_worker(number):
    folder = os.path.dirname(os.path.abspath(__file__))
    command = [sys.executable, "-m", "celery", "--app", "celery_results", "--workdir", folder, "worker",
               "--concurrency", "4", "--hostname", f"worker{number}@torc", "--loglevel", "WARNING"]
    environment = {**os.environ, "SERVER_PORT": PORT, "C_FORCE_ROOT": "1"}
    return subprocess.Popen(command, env=environment, stdout=sys.stderr, start_new_session=True)


asked_again = 0


def result_of(result):
    """A result, asked for again if its notice does not come.

    Celery sends SUBSCRIBE for a result's notice without waiting for the answer, and asks on another connection whether the result is
    there. These connections may be of two shards, and one that gets no core for some milliseconds reads the SUBSCRIBE when the notice
    has been published. The result itself is there in any case.
    """
    global asked_again
    for _ in range(10):
        try:
            return result.get(timeout=PATIENCE_S / 10)
        except celery.exceptions.TimeoutError:
            asked_again += 1
    raise AssertionError(f"no result of {result}")


def check(what, actual, expected):
    assert actual == expected, f"{what}: {actual!r} instead of {expected!r}"


def run():
    expected = {}

    def name(text, times=1):
        expected[text.encode()] = str(times).encode()
        return text

    group = celery.group(add.s(name(f"add:{n}"), n, n) for n in range(TASKS)).apply_async()
    retried = [fails_at_first.delay(name(f"retried:{n}", 2), n) for n in range(RETRIED)]
    chains = [
        celery.chain(
            celery.group(add.s(name(f"chain:{n}:{m}"), n, m) for m in range(2)),
            total.s(name(f"chain:{n}")),
            add_to.s(name(f"chain:{n}:last"), 1),
        ).apply_async()
        for n in range(CHORDS)
    ]
    chords = [
        celery.chord([add.s(name(f"chord:{c}:{n}"), c, n) for n in range(8)])(total.s(name(f"chord:{c}")))
        for c in range(CHORDS)
    ]
    check("the group", result_of(group), [2 * n for n in range(TASKS)])
    check("tasks tried again", [result_of(result) for result in retried], list(range(RETRIED)))
    check("chains", [result_of(result) for result in chains], [2 * n + 2 for n in range(CHORDS)])
    check("chords", [result_of(result) for result in chords], [8 * c + 28 for c in range(CHORDS)])
    runs = counts.hgetall("runs")
    check("runs", {name: times for name, times in runs.items() if expected.get(name) != times}, {})
    check("tasks that ran", len(runs), len(expected))
    return len(expected)


def main():
    # Whoever ends this ends the workers, too.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("ended from outside"))
    workers = [start_worker(number) for number in range(WORKERS)]
    try:
        ran = run()
    finally:
        for worker in workers:
            worker.terminate()
        for worker in workers:
            try:
                worker.wait(timeout=30)
            except subprocess.TimeoutExpired:
                os.killpg(worker.pid, signal.SIGKILL)
    broker = redis.Redis.from_url(f"{URL}/0")
    check("what is left in the queue", (broker.llen("celery"), broker.hlen("unacked")), (0, 0))
    print(f"{ran} tasks, each of them once, their results as expected, {asked_again} asked for again")


if __name__ == "__main__":
    main()
