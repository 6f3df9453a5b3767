"""How busy others are, read from /proc and nvidia-smi, and the patience that waits, and not for ever."""

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from daemon.busy import (
    LOOK_S,
    Look,
    Meter,
    Patience,
    Ticks,
    note_waiting,
    others_share,
    parse_gpu,
    parse_machine,
    parse_process,
    read_waiting,
    threads_with_room,
)

counts = st.integers(0, 10**12)


@given(st.lists(counts, min_size=4, max_size=12), st.text(alphabet="abc \n", max_size=20))
def test_idle_waiting_for_disks_and_stolen_time_are_nobodys_work(columns, rest):
    names = ["user", "nice", "system", "idle", "iowait", "irq", "softirq", "steal"]
    told = dict(zip(names, columns, strict=False))
    found = parse_machine(f"cpu  {' '.join(map(str, columns))}\n{rest}")
    assert found.total == sum(told.values())
    assert found.total - found.busy == sum(told.get(name, 0) for name in ("idle", "iowait", "steal"))


@given(st.text("a() 1", max_size=16), st.integers(1, 10**7), *[counts] * 4)
def test_a_process_may_be_called_anything(name, pid, user, system, of_children, system_of_children):
    line = f"{pid} ({name}) S 1 2 3 4 5 6 7 8 9 10 {user} {system} {of_children} {system_of_children} 20 0 3 0 77\n"
    assert parse_process(line) == user + system + of_children + system_of_children


def test_this_machine_is_read_as_it_is():
    text = Path("/proc/self/stat").read_text()
    times = os.times()
    hertz = os.sysconf("SC_CLK_TCK")
    assert parse_process(text) / hertz == pytest.approx(sum(times[:4]), abs=0.2)
    look = Meter().look([os.getpid(), 2**30])
    assert look is not None
    assert 0 < look.machine.busy <= look.machine.total
    assert set(look.own) == {os.getpid()}


@given(st.text())
def test_garbage_is_refused_or_read_but_never_anything_else(text):
    for parse in (parse_machine, parse_process):
        try:
            parse(text)
        except ValueError:
            continue
    assert parse_gpu(text, text, [1]) >= 0


def test_a_machine_that_does_not_tell_is_not_taken_for_busy(tmp_path):
    assert Meter(proc=tmp_path).look([1]) is None
    (tmp_path / "stat").write_text("something else\n")
    assert Meter(proc=tmp_path).look([1]) is None
    time, told = Machine([]), []
    Patience(0.1, 100, told.append, Meter(proc=tmp_path), lambda: time.seconds, time.sleep).before(list, lambda: None)
    assert told == []


@given(st.lists(st.tuples(counts, counts), min_size=1, max_size=4), counts, counts)
def test_the_share_of_others_is_what_they_used_and_nothing_of_ours(own, others, idle):
    before = Look(Ticks(1000, 5000), {process: start for process, (start, _) in enumerate(own)})
    used = sum(spent for _, spent in own) + others
    after = Look(
        Ticks(1000 + used, 5000 + used + idle), {process: start + spent for process, (start, spent) in enumerate(own)}
    )
    wanted = others / (used + idle) if used + idle else 0.0
    assert others_share(before, after) == pytest.approx(wanted)


def test_a_process_of_ours_that_came_or_went_is_ours_all_the_same():
    came = others_share(Look(Ticks(0, 0), {1: 0}), Look(Ticks(50, 100), {1: 10, 2: 40}))
    assert came == 0
    # It went: its parent, which waited for it, has all of its 70 ticks, 40 of them from before.
    went = others_share(Look(Ticks(0, 0), {1: 5, 2: 40}), Look(Ticks(50, 100), {1: 5 + 70}))
    assert went == pytest.approx((50 - 30) / 100)


def test_what_a_gpu_does_and_holds_for_others():
    assert parse_gpu("37, 1000, 80000\n", "", [7]) == pytest.approx(0.37)
    assert parse_gpu("3, 40000, 80000\n", "7, 8000\n9, 32000\n", [7]) == pytest.approx(0.4)
    assert parse_gpu("[N/A], [N/A], [N/A]\n", "[N/A], [N/A]\n", [7]) == 0
    assert parse_gpu("", "", [7]) == 0


@pytest.mark.parametrize(
    ("device", "shown", "card"),
    [("auto", None, "0"), ("cuda", None, "0"), ("cuda:2", None, "2"), ("cuda:1", "5,3", "3"), ("cuda:1", "GPU-a", "1")],
)
def test_nvidia_smi_is_asked_about_the_card_that_is_used(tmp_path, monkeypatch, device, shown, card):
    fake = tmp_path / "nvidia-smi"
    fake.write_text(f'#!/bin/sh\necho "$@" >> {tmp_path}/asked\necho "80, 1, 2"\n')
    fake.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    if shown is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", shown)
    assert Meter(device).gpu([1]) == pytest.approx(0.8)
    assert all(line.startswith(f"-i {card} ") for line in (tmp_path / "asked").read_text().splitlines())


def test_a_gpu_that_is_not_used_is_not_asked_about(tmp_path, monkeypatch):
    fake = tmp_path / "nvidia-smi"
    fake.write_text("#!/bin/sh\nexit 1\n")
    fake.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    assert Meter("cuda").gpu([1]) == 0  # it failed
    fake.write_text('#!/bin/sh\necho "100, 1, 2"\n')
    assert Meter("cpu").gpu([1]) == 0
    monkeypatch.setenv("PATH", "/nowhere")
    assert Meter("auto").gpu([1]) == 0


class Machine:
    """Ten cores whose others are as busy as `shares` say, one look interval after the other; the last one stays."""

    def __init__(self, shares, gpu=0.0):
        self.shares, self.card, self.seconds = shares, gpu, 0.0

    def look(self, own):
        hundredths = round(self.seconds * 100)
        return Look(Ticks(sum(round(1000 * self._share(n)) for n in range(hundredths)), 1000 * hundredths), {})

    def _share(self, hundredth):
        return self.shares[min(int(hundredth / 100 / LOOK_S), len(self.shares) - 1)]

    def gpu(self, own):
        return self.card

    def sleep(self, seconds):
        self.seconds += seconds


def patience(machine, told, above=0.75, most_s=3600.0):
    return Patience(above, most_s, told.append, machine, lambda: machine.seconds, machine.sleep)


def test_it_goes_on_at_once_where_others_leave_room():
    machine, told, beats = Machine([0.7]), [], []
    patience(machine, told).before(list, lambda: beats.append(machine.seconds))
    assert told == []
    assert machine.seconds == LOOK_S
    assert max(b - a for a, b in zip([0, *beats], [*beats, LOOK_S], strict=True)) <= 1


def test_it_waits_while_others_are_busy_says_why_and_goes_on():
    machine, told = Machine([0.87, 0.87, 0.9, 0.2]), []
    patience(machine, told).before(list, lambda: None)
    assert told == ["other processes use 87 % of the cores", "other processes use 90 % of the cores", ""]
    assert machine.seconds == 4 * LOOK_S


def test_it_does_not_wait_for_ever():
    machine, told = Machine([1.0]), []
    patience(machine, told, most_s=60).before(list, lambda: None)
    assert told == ["other processes use 100 % of the cores", ""]
    assert 60 <= machine.seconds <= 60 + LOOK_S


def test_a_gpu_that_others_use_is_waited_for():
    machine, told = Machine([0.1], gpu=0.93), []
    patience(machine, told, most_s=30).before(list, lambda: None)
    assert told == ["other processes use 93 % of the GPU", ""]


@pytest.mark.parametrize(("above", "most_s"), [(1.0, 3600), (0.5, 0)])
def test_whoever_does_not_want_to_wait_does_not_even_look(above, most_s):
    machine, told = Machine([1.0], gpu=1.0), []
    waits = patience(machine, told, above, most_s)
    waits.before(list, lambda: None)
    for _ in range(3):
        machine.sleep(10)
        waits.between(list, lambda: None)
    assert (told, machine.seconds) == ([], 30)


def test_being_told_to_stop_ends_the_wait_and_its_remark():
    machine, told = Machine([1.0]), []

    def beat():
        if machine.seconds > 10:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        patience(machine, told).before(list, beat)
    assert told[-1] == ""


def test_between_steps_it_costs_nothing_unless_others_were_busy():
    machine, told = Machine([0.1, 0.1, 0.1, 0.9, 0.9, 0.9, 0.1]), []
    waits = patience(machine, told)
    for _ in range(3):  # up to 6 s
        waits.between(list, lambda: None)
        machine.sleep(LOOK_S)
    assert (told, machine.seconds) == ([], 3 * LOOK_S)
    waits.between(list, lambda: None)
    machine.sleep(LOOK_S)  # up to 8 s: busy
    waits.between(list, lambda: None)
    assert told == ["other processes use 90 % of the cores", ""]
    assert machine.seconds == 7 * LOOK_S


def test_steps_that_follow_each_other_quickly_are_looked_at_together():
    machine, told = Machine([0.0, 1.0, 0.0]), []
    waits = patience(machine, told)
    for seconds in (2, 1, 2, 2):  # the busy ones are the third and the fourth
        machine.sleep(seconds)
        waits.between(list, lambda: None)
    assert (told, machine.seconds) == ([], 7)


def test_waits_between_the_steps_of_one_unit_add_up_to_the_most():
    machine, told = Machine(([1.0] * 4 + [0.0]) * 60), []
    waits = patience(machine, told, most_s=20)

    def waited(steps):
        started = machine.seconds
        for _ in range(steps):
            waits.between(list, lambda: None)
            machine.sleep(LOOK_S)
        return machine.seconds - started - steps * LOOK_S

    assert waited(50) == pytest.approx(20, abs=LOOK_S)
    assert told.count("") > 1
    assert waited(20) == 0
    waits.before(list, lambda: None)  # another unit
    assert waited(20) > 0


@given(st.integers(1, 1024))
def test_threads_leave_room_and_there_is_always_one(cores):
    assert 1 <= threads_with_room(cores) <= max(1, cores - 1)
    assert threads_with_room(cores) >= cores * 3 // 4 - 1


def test_the_note_of_waiting_comes_and_goes(tmp_path):
    assert read_waiting(tmp_path) == ""
    note_waiting(tmp_path, "other processes use 80 % of the cores")
    assert read_waiting(tmp_path) == "other processes use 80 % of the cores"
    note_waiting(tmp_path, "")
    note_waiting(tmp_path, "")
    assert read_waiting(tmp_path) == ""
    note_waiting(tmp_path / "absent", "it is a remark, and must not stop work")
