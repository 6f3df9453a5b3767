"""What `init --demo` lays out, without the model."""

from daemon.commands.setup import DEMO_WATCHES, _add_examples, examples_folder
from daemon.home import find_home


def test_the_demo_watches_two_memories_and_copies_all(tmp_path, command_line, capsys):
    reflexd = command_line(tmp_path / "reflexd.toml")
    reflexd("init", "--dir", str(tmp_path))
    for _ in range(2):  # and again changes nothing
        _add_examples(find_home(tmp_path / "reflexd.toml"), tmp_path / "memory")
    assert capsys.readouterr().out.count("not watched") == 2
    watched = [row["path"] for row in reflexd("source", "list", "--json")]
    assert sorted(watched) == [str(tmp_path / "memory" / f"{name}.json") for name in DEMO_WATCHES]
    copied = {path.stem for path in (tmp_path / "memory").iterdir()}
    assert copied == {folder.name for folder in examples_folder().iterdir() if folder.is_dir()}
    assert copied == {"listening", "not_rushing", "mode_awareness"}
