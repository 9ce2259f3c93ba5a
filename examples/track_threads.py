"""Work in plain threads, as in the tasks of Celery: each worker tracks its own runs on a server.

Start a server (`runstate demo`, say), then `python examples/track_threads.py http://127.0.0.1:8642`.
"""

from __future__ import annotations

import sys
from concurrent.futures import ThreadPoolExecutor

from runstate.client import Stopped, track_sync

FILES = [f"part-{number}.csv" for number in range(5)]


def task(url: str, worker: str) -> str:
    """What a task would do; one pipeline per worker, since a pipeline has one active run at a time."""
    with track_sync(url, f"worker_{worker}", stages=["fetch", "convert"], metadata={"worker": worker}) as run:
        with run.stage("fetch") as stage:
            for done, file in enumerate(FILES, 1):
                stage.progress(done, total=len(FILES), unit="files", message=file)
            stage.outputs(files=len(FILES))
        with run.stage("convert") as stage:
            stage.log("converted")
    return run.run_id


def main(url: str) -> None:
    """Run two workers to their ends."""
    with ThreadPoolExecutor() as pool:
        try:
            for run_id in pool.map(lambda worker: task(url, worker), ["a", "b"]):
                sys.stdout.write(f"{run_id}\n")
        except Stopped as stopped:
            sys.exit(str(stopped))


if __name__ == "__main__":
    main(sys.argv[1])
