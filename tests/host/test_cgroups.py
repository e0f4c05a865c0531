"""Control groups without a kernel: where a process is, what is written for a limit, what is swept, who may divide a group."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sandboxhost import GroupLimits, ManifestError, cgroups
from sandboxhost.cgroups import Group, Groups, Place, places

ALL = frozenset(cgroups.CONTROLLERS)

HYBRID = """\
25 1 0:22 / / rw - ext4 /dev/vda rw
30 25 0:26 / /sys/fs/cgroup/cpu,cpuacct rw,relatime shared:9 - cgroup cgroup rw,cpu,cpuacct
31 25 0:27 / /sys/fs/cgroup/memory rw,relatime shared:10 master:2 - cgroup cgroup rw,memory
32 25 0:28 / /sys/fs/cgroup/systemd rw,relatime - cgroup cgroup rw,name=systemd
33 25 0:29 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw
"""
HYBRID_OWN = """\
5:name=systemd:/user.slice
4:memory:/jobs/7
3:cpu,cpuacct:/
0::/user.slice
"""


def test_version_1_and_the_rest_of_version_2() -> None:
    assert places(HYBRID_OWN, HYBRID) == [
        Place(1, frozenset({"memory"}), "/sys/fs/cgroup/memory", "/sys/fs/cgroup/memory/jobs/7"),
        Place(1, frozenset({"cpu"}), "/sys/fs/cgroup/cpu,cpuacct", "/sys/fs/cgroup/cpu,cpuacct"),
        Place(2, frozenset({"pids"}), "/sys/fs/cgroup/unified", "/sys/fs/cgroup/unified/user.slice"),
    ]


@pytest.mark.parametrize(
    ("root", "own", "directory"),
    [
        ("/", "/", "/sys/fs/cgroup"),
        ("/", "/app.slice/a b.service/app", "/sys/fs/cgroup/app.slice/a b.service/app"),
        ("/docker/1f", "/docker/1f", "/sys/fs/cgroup"),
        ("/docker/1f", "/docker/1f/main", "/sys/fs/cgroup/main"),
        ("/docker/1f", "/docker/1f2", None),
        ("/docker/1f", "/elsewhere", None),
        ("/..", "/", None),
        ("/", "/../outside", None),
    ],
)
def test_version_2_alone(root: str, own: str, directory: str | None) -> None:
    mountinfo = f"40 1 0:26 {root} /sys/fs/cgroup rw,nosuid - cgroup2 cgroup2 rw,nsdelegate\n"
    found = places(f"0::{own}\n", mountinfo)
    assert found == ([Place(2, ALL, "/sys/fs/cgroup", directory)] if directory else [])


def test_a_mount_point_with_a_blank() -> None:
    (place,) = places("0::/a\n", "40 1 0:26 / /my\\040groups rw - cgroup2 none rw\n")
    assert place.directory == "/my groups/a"


@given(st.text(), st.text())
def test_any_text_is_read(membership: str, mountinfo: str) -> None:
    for text in (mountinfo, HYBRID + mountinfo):
        for place in places(membership, text):
            assert (place.directory + "/").startswith(place.top)


def test_what_is_written_for_a_limit() -> None:
    limits = GroupLimits(memory="1MiB", processes=7, processors=0.5)
    assert cgroups._settings(2, cgroups.CONTROLLERS, limits) == [
        ("memory.max", "1048576", True), ("memory.swap.max", "0", False), ("memory.oom.group", "1", False),
        ("pids.max", "7", True), ("cpu.max", "50000 100000", True)]  # fmt: skip
    assert cgroups._settings(1, cgroups.CONTROLLERS, limits) == [
        ("memory.limit_in_bytes", "1048576", True), ("memory.memsw.limit_in_bytes", "1048576", False),
        ("pids.max", "7", True), ("cpu.cfs_period_us", "100000", True), ("cpu.cfs_quota_us", "50000", True)]  # fmt: skip
    assert cgroups.wanted(limits) == list(cgroups.CONTROLLERS)
    assert cgroups.wanted(GroupLimits(memory=None)) == ["pids"]
    assert cgroups.wanted(GroupLimits(processors=1, use="off")) == []


@pytest.mark.parametrize("wrong", [{"use": "always"}, {"memory": 0}, {"processes": 0}, {"processors": 0}, {"processors": True}])
def test_limits_that_are_none(wrong: dict[str, object]) -> None:
    with pytest.raises(ManifestError, match=next(iter(wrong))):
        GroupLimits(**wrong)  # type: ignore[arg-type]


def test_a_killed_hosts_groups_are_removed_and_no_others(tmp_path: Path) -> None:
    mine = f"{os.getpid()}-{cgroups._started(os.getpid())}"
    stay = {f"sandboxhost-{mine}-1", "sandboxhost-", "sandboxhost-app", "other-1-2-3"}
    go = {"sandboxhost-4194305-77-1", f"sandboxhost-{os.getpid()}-1-1", "sandboxhost-4194305-77-try00"}
    for name in stay | go:
        (tmp_path / name).mkdir()
    cgroups._sweep(str(tmp_path))
    assert set(os.listdir(tmp_path)) == stay
    cgroups._sweep(str(tmp_path / "not there"))


def test_who_was_given_a_group(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    group, top = str(tmp_path / "group"), str(tmp_path)
    os.mkdir(group)
    monkeypatch.setattr(os, "geteuid", lambda: os.stat(group).st_uid or 1)
    assert cgroups._given(group, top, 1) == (os.stat(group).st_uid != 0)
    monkeypatch.setattr(os, "geteuid", lambda: os.stat(group).st_uid + 1)
    assert not cgroups._given(group, top, 2)
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    assert not cgroups._given(group, top, 2) and not cgroups._given(group, group, 2), "the root of all groups"
    (tmp_path / "group" / "cgroup.type").touch()
    assert cgroups._given(group, group, 2) and not cgroups._given(group, group, 1) and not cgroups._given(group, top, 2)
    try:
        os.setxattr(group, "user.delegate", b"1")
    except OSError:
        pass  # no such attributes in this file system
    else:
        assert cgroups._given(group, top, 1)


def groups_in(parent: Path, monkeypatch: pytest.MonkeyPatch, controllers: tuple[str, ...] = ("memory",)) -> Groups:
    """As if this folder were a group that can be divided; but it is none."""
    monkeypatch.setattr(Groups, "_find", lambda self: self._parents.append(cgroups._Parent(2, str(parent), controllers)))
    return Groups(GroupLimits())


def test_what_cannot_be_made_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
                                            caplog: pytest.LogCaptureFixture) -> None:  # fmt: skip
    groups = groups_in(tmp_path, monkeypatch)
    assert groups.new() is None
    assert "a worker gets no control group: " in caplog.text and "memory.max: No such file" in caplog.text
    assert os.listdir(tmp_path) == []


def test_what_is_busy_is_removed_later(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    groups = groups_in(tmp_path, monkeypatch, ())
    group = groups.new()
    assert group is not None and len(group.directories) == 1
    inside = Path(group.directories[0]) / "keeps it"
    inside.touch()
    groups.release(group)
    groups.tidy()
    assert inside.exists()
    inside.unlink()
    groups.close()
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize(
    ("text", "kills"),
    [("oom 3\noom_kill 2\n", 2), ("oom_kill 0", 0), ("oom_kill_disable 1\n", None), ("oom_kill x", None), ("", None)],
)
def test_the_count_of_kills(tmp_path: Path, text: str, kills: int | None) -> None:
    group = Group()
    assert group.oom_kills() is None
    group._oom = str(tmp_path / "memory.events")
    (tmp_path / "memory.events").write_text(text)
    assert group.oom_kills() == kills
