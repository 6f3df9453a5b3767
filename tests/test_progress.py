"""What is said while work goes on."""

from daemon.progress import Remarks


def test_a_remark_is_made_once_an_hour():
    """A daemon that fails in the same way all night says so all night, but not every tick."""
    said, clock = [], [0.0]
    remarks = Remarks(said.append, lambda: clock[0])
    for minute in range(0, 121, 10):
        clock[0] = minute * 60.0
        remarks("source x: cannot be read")
        remarks(f"tick {minute}")
    assert said.count("source x: cannot be read") == 3
    assert len(said) == 3 + 13
