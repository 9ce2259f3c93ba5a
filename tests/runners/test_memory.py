"""Whether the kernel killed for want of memory is read from where this system counts it."""

from __future__ import annotations

import pytest

from runstate.core.facts import Failed
from runstate.pipeline.runners.memory import oom_kills
from runstate.pipeline.runners.outcome import failure_of_command, outcome_of_exit


@pytest.mark.parametrize(
    ("files", "count"),
    [
        ({"proc/self/cgroup": "0::/a/b\n", "sys/fs/cgroup/a/b/memory.events": "oom 9\noom_kill 2\n"}, 2),
        ({"proc/self/cgroup": "0::/host/path\n", "sys/fs/cgroup/memory.events": "low 0\noom_kill 3\n"}, 3),
        (
            {
                "proc/self/cgroup": "4:cpu,memory:/x\n0::/\n",
                "sys/fs/cgroup/memory/x/memory.oom_control": "under_oom 0\noom_kill 4\n",
                "proc/vmstat": "oom_kill 9\n",
            },
            4,
        ),
        ({"proc/self/cgroup": "0::/\n", "proc/vmstat": "pgfault 1\noom_kill 5\n"}, 5),
        ({"proc/vmstat": "oom_kill 6\n"}, 6),
        ({"proc/self/cgroup": "nonsense\n", "proc/vmstat": "oom_kill many\n"}, None),
        ({}, None),
    ],
)
def test_the_nearest_count_counts(tmp_path, files, count):
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)

    assert oom_kills(tmp_path) == count


def test_a_sigkill_is_out_of_memory_only_where_the_kernel_killed():
    assert outcome_of_exit(-9, for_memory=True).code == "out_of_memory"
    assert outcome_of_exit(-9).code == "killed"
    assert outcome_of_exit(-11, for_memory=True).code == "killed"
    for status in (-9, 137):
        assert failure_of_command(status, last_words="", for_memory=True) == Failed(
            "OutOfMemory: memory ran out, and the kernel killed the command", "out_of_memory"
        )
    assert failure_of_command(1, last_words="", for_memory=True).code == "exit_status"
