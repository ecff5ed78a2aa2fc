"""The locks of Python that dlock is compared with. Like dlock-bench-child: python peers.py '{"subject": .., "work": ..}'

Each lock is a context manager that takes and releases, and `try_lock`, which is true when somebody else has it.
`python peers.py versions` prints those of the packages.
"""

import asyncio
import contextlib
import json
import random
import sys
import threading
import time
from importlib import metadata
from urllib.parse import unquote, urlsplit

POOL = 10  # connections, like every other pool here
WAITED_FOR = 0.002  # work hand-over: by how much at least the time that it is held exceeds the pause
PACKAGES = ["sqlalchemy-dlock", "SQLAlchemy", "asyncpg", "psycopg2-binary", "PyMySQLLock", "PyMySQL", "postgres-lock"]

# Without BEGIN and ROLLBACK around each lock.
ENGINE = dict(
    pool_size=POOL,
    max_overflow=0,
    pool_timeout=60,
    pool_reset_on_return=None,
    isolation_level="AUTOCOMMIT",
)


class Psycopg2:
    """sqlalchemy-dlock on psycopg2, in threads."""

    def __init__(self, url):
        from sqlalchemy import create_engine
        from sqlalchemy_dlock import create_sadlock

        self.engine = create_engine(url.replace("postgres://", "postgresql+psycopg2://"), **ENGINE)
        self.create = create_sadlock

    @contextlib.contextmanager
    def lock(self, key):
        with self.engine.connect() as connection, self.create(connection, key):
            yield

    def try_lock(self, key):
        with self.engine.connect() as connection:
            return not self.create(connection, key).acquire(block=False)


class Asyncpg:
    """sqlalchemy-dlock on asyncpg, in tasks."""

    def __init__(self, url):
        from sqlalchemy.ext.asyncio import create_async_engine
        from sqlalchemy_dlock import create_async_sadlock

        self.engine = create_async_engine(url.replace("postgres://", "postgresql+asyncpg://"), **ENGINE)
        self.create = create_async_sadlock

    @contextlib.asynccontextmanager
    async def lock(self, key):
        async with self.engine.connect() as connection, self.create(connection, key):
            yield

    async def try_lock(self, key):
        async with self.engine.connect() as connection:
            return not await self.create(connection, key).acquire(block=False)


class PyMySQLLock:
    """PyMySQLLock, which opens a connection for each lock, in threads."""

    options = {}

    def __init__(self, url):
        from PyMySQLLock import Locker

        parts = urlsplit(url)
        self.locker = Locker(
            host=parts.hostname,
            port=parts.port or 3306,
            user=unquote(parts.username or ""),
            password=unquote(parts.password or ""),
            database=parts.path[1:],
            **self.options,
        )

    @contextlib.contextmanager
    def lock(self, key):
        lock = self.locker.lock(key)
        # Its default of -1 is refused by MariaDB.
        if not lock.acquire(timeout=60):
            raise RuntimeError("no lock")
        try:
            yield
        finally:
            lock.release()

    def try_lock(self, key):
        lock = self.locker.lock(key)
        busy = not lock.acquire(timeout=0)
        lock.conn.close()
        return busy


class PyMySQLLockWithoutTls(PyMySQLLock):
    """The same, without the TLS context that PyMySQL builds for each connection."""

    options = {"ssl_disabled": True}


SUBJECTS = {
    "sqlalchemy-dlock/psycopg2": Psycopg2,
    "sqlalchemy-dlock/asyncpg": Asyncpg,
    "PyMySQLLock": PyMySQLLock,
    "PyMySQLLock without TLS": PyMySQLLockWithoutTls,
}


def key_of(sample, task):
    return f"{sample['prefix']}/{'hot' if sample['keys'] == 'one' else task}"


def ready():
    print("ready", flush=True)
    sys.stdin.readline()


def report(sample, histories):
    """Each history has the nanoseconds of a task's operations."""
    counts = {}
    for history in histories:
        for nanoseconds in history:
            counts[nanoseconds] = counts.get(nanoseconds, 0) + 1
    return {
        "operations": sum(counts.values()),
        "seconds": sample["seconds"],
        "served": sum(1 for history in histories if history),
        "latency": list(counts.items()),
    }


def in_threads(count, work):
    """What work(task) returns, for each of them; its first error is raised."""
    results, errors = [None] * count, []

    def run(task):
        try:
            results[task] = work(task)
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=run, args=(task,)) for task in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if errors:
        # A thread that fails breaks the barrier of the others.
        raise min(errors, key=lambda error: isinstance(error, threading.BrokenBarrierError))
    return results


def repeat(subject, sample):
    def until(end, key):
        history, before = [], time.perf_counter_ns()
        while before < end:
            if sample["work"] == "try":
                if not subject.try_lock(key):
                    raise RuntimeError("the lock should have been taken")
            else:
                with subject.lock(key):
                    pass
            now = time.perf_counter_ns()
            if now <= end:
                history.append(now - before)
            before = now
        return history

    ends = []

    def go():
        ready()
        ends.append(time.perf_counter_ns() + int(sample["seconds"] * 1e9))

    # All threads are there before the sample starts.
    start = threading.Barrier(sample["tasks"], action=go)
    warm_until = time.perf_counter_ns() + int(sample["warm_up"] * 1e9)

    def work(task):
        try:
            until(warm_until, key_of(sample, task))
        except BaseException:
            start.abort()
            raise
        start.wait()
        return until(ends[0], key_of(sample, task))

    return report(sample, in_threads(sample["tasks"], work))


async def repeat_async(subject, sample):
    async def until(end, key):
        history, before = [], time.perf_counter_ns()
        while before < end:
            if sample["work"] == "try":
                if not await subject.try_lock(key):
                    raise RuntimeError("the lock should have been taken")
            else:
                async with subject.lock(key):
                    pass
            now = time.perf_counter_ns()
            if now <= end:
                history.append(now - before)
            before = now
        return history

    async def phase(seconds):
        end = time.perf_counter_ns() + int(seconds * 1e9)
        return await asyncio.gather(*(until(end, key_of(sample, task)) for task in range(sample["tasks"])))

    await phase(sample["warm_up"])
    ready()
    return report(sample, await phase(sample["seconds"]))


def hold(subject, sample):
    with subject.lock(key_of(sample, 0)):
        ready()
    return {}


async def hold_async(subject, sample):
    async with subject.lock(key_of(sample, 0)):
        ready()
    return {}


def hand_over(subject, sample):
    pause, turns = sample["pause"] / 1000, []
    ready()
    end = time.perf_counter() + sample["seconds"]
    while time.perf_counter() < end:
        with subject.lock(key_of(sample, 0)):
            acquired = time.time_ns()
            time.sleep(pause * (1 + random.random()) + WAITED_FOR)
            released = time.time_ns()
        turns.append({"acquired": acquired, "released": released})
        time.sleep(pause)
    return {"turns": turns}


async def hand_over_async(subject, sample):
    pause, turns = sample["pause"] / 1000, []
    ready()
    end = time.perf_counter() + sample["seconds"]
    while time.perf_counter() < end:
        async with subject.lock(key_of(sample, 0)):
            acquired = time.time_ns()
            await asyncio.sleep(pause * (1 + random.random()) + WAITED_FOR)
            released = time.time_ns()
        turns.append({"acquired": acquired, "released": released})
        await asyncio.sleep(pause)
    return {"turns": turns}


def versions():
    found = {}
    for package in PACKAGES:
        with contextlib.suppress(metadata.PackageNotFoundError):
            found[package] = metadata.version(package)
    return found


def main():
    if sys.argv[1] == "versions":
        return versions()
    sample = json.loads(sys.argv[1])
    # The options after it are those of sqlx.
    subject = SUBJECTS[sample["subject"]](sample["url"].partition("?")[0])
    works = {"cycle": repeat, "try": repeat, "hold": hold, "hand-over": hand_over}
    if sample["subject"] != "sqlalchemy-dlock/asyncpg":
        return works[sample["work"]](subject, sample)
    works = {"cycle": repeat_async, "try": repeat_async, "hold": hold_async, "hand-over": hand_over_async}
    return asyncio.run(works[sample["work"]](subject, sample))


print(json.dumps(main()))
