"""An aider chat history says what was undone and confirmed, whoever quotes it, however it is read."""

import pytest
from aider_logs import COMMAND, FENCE, QUOTED, WORK, header, line_of, mined, of_kind, outcomes, said, texts, tool, typed

from graph.memory import MemoryGraph


def test_a_turn_is_a_direction_its_answers_and_the_turn_after_it(tmp_path):
    nodes, edges = mined(tmp_path, WORK)
    assert texts(nodes, "direction") == [
        "round the tax per line\nnot per invoice",
        "per line, as I said",
        "looks good, now the receipt",
        "why is the rounding half even?",
        "fine, keep it",
    ]
    asked, again = of_kind(nodes, "direction")[:2]
    first = next(node for node in of_kind(nodes, "response") if node["text"].startswith("I'll round once"))
    assert {(first["id"], asked["id"], "responds_to"), (again["id"], first["id"], "follows")} <= edges
    assert asked["line"] == line_of(WORK, "#### round the tax")
    assert WORK.encode()[asked["place"] :].startswith(b"#### round the tax")
    assert not MemoryGraph.from_records(nodes.values(), []).problems


def test_of_the_answers_in_a_turn_the_first_the_last_and_those_with_a_commit_are_told(tmp_path):
    nodes, _ = mined(
        tmp_path,
        header()
        + typed("tidy up")
        + "".join(said(f"Step {n}.") + tool("Tokens: 1k sent") for n in range(5))
        + said("Committed.")
        + tool("Commit 1234567 chore: tidy")
        + said("Bye.")
        + typed("thanks")
        + tool("Tokens: 0"),
    )
    assert texts(nodes, "response") == ["Step 0.", "Committed.", "Bye."]


def test_an_undo_rejects_the_response_whose_commit_it_names(tmp_path):
    nodes, edges = mined(tmp_path, WORK)
    undone = [end for end in outcomes(nodes, edges) if end[0] == "undo"]
    assert [(signal, how, text[:15]) for signal, how, text in undone] == [("undo", "rejected_by", "I'll round once")]
    assert next(node["line"] for node in of_kind(nodes, "outcome") if node["signal"] == "undo") == line_of(
        WORK, "#### /undo"
    )


def test_undos_in_a_row_walk_back_through_the_turns(tmp_path):
    nodes, edges = mined(
        tmp_path,
        header()
        + typed("add retries")
        + said("Retries, three of them.")
        + tool("Commit aaaaaa1 feat: retries", "Commit aaaaaa2 style: lint")
        + typed("add a timeout")
        + said("A timeout of a second.")
        + tool("Commit bbbbbb1 feat: timeout")
        + "".join(typed("/undo") + tool(f"Removed: {commit} x") for commit in ("bbbbbb1", "aaaaaa2", "aaaaaa1")),
    )
    assert [end[2] for end in outcomes(nodes, edges)] == [
        "A timeout of a second.",
        "Retries, three of them.",
        "Retries, three of them.",
    ]


def test_a_new_session_can_undo_the_commit_of_the_one_before(tmp_path):
    nodes, edges = mined(
        tmp_path,
        header()
        + typed("log every request")
        + said("Every request is logged.")
        + tool("Commit cccccc1 feat: log")
        + header("2026-03-02 09:00:00")
        + COMMAND
        + typed("/undo")
        + tool("Removed: cccccc1 feat: log"),
    )
    assert outcomes(nodes, edges) == [("undo", "rejected_by", "Every request is logged.")]


@pytest.mark.parametrize(
    "refusal",
    [
        "The last commit was not made by aider in this chat session.",
        "The file api.py has uncommitted changes. Please stash them before undoing.",
        "The last commit has already been pushed to the origin. Undoing is not possible.",
        "Unable to complete undo: bad object",
        "Removed api.py from the chat",
    ],
)
def test_an_undo_that_undid_nothing_rejects_nothing(tmp_path, refusal):
    nodes, edges = mined(tmp_path, header() + typed("add retries") + said("Added.") + typed("/undo") + tool(refusal))
    assert outcomes(nodes, edges) == [("undo", "answered_by", "Added.")]


def test_a_commit_of_the_humans_own_work_is_nobodys_response(tmp_path):
    nodes, edges = mined(
        tmp_path,
        header()
        + typed("rename it")
        + said("Renamed.")
        + tool("Committing api.py before applying edits.", "Commit d0d0d01 wip", "Commit d0d0d02 refactor: rename")
        + typed("/commit")
        + tool("Commit d0d0d03 docs: mine")
        + "".join(typed("/undo") + tool(f"Removed: d0d0d0{n} x") for n in (3, 2, 1)),
    )
    assert [end[2] for end in outcomes(nodes, edges)] == ["Removed: d0d0d03 x", "Renamed.", "Removed: d0d0d01 x"]


@pytest.mark.parametrize(
    "answer",
    [
        f"Here is the fixture:\n\ntests/fixtures/chat.md\n{FENCE}\n{QUOTED}\n{FENCE}\n\nIt ends with an undo.",
        f"tests/fixtures/chat.md\n{FENCE}markdown\n<<<<<<< SEARCH\n=======\n{QUOTED}\n>>>>>>> REPLACE\n{FENCE}",
        f"tests/fixtures/chat.md\n<source>markdown\n<<<<<<< SEARCH\n{QUOTED}\n=======\n>>>>>>> REPLACE\n</source>",
        f"````\n{QUOTED}\n{FENCE}python\nx = 1\n{FENCE}\n````\n\n{FENCE}\nanother\n{FENCE}",
    ],
)
def test_a_transcript_that_the_model_quotes_is_its_text(tmp_path, answer):
    nodes, edges = mined(
        tmp_path,
        header()
        + typed("write a fixture for the parser")
        + said(answer)
        + tool("Tokens: 4k sent")
        + typed("shorter")
        + said(f"a.py\n{FENCE}\ny = 2\n{FENCE}")
        + tool("Tokens: 1k sent"),
    )
    assert texts(nodes, "direction") == ["write a fixture for the parser", "shorter"]
    assert outcomes(nodes, edges) == []
    assert "#### /undo" in texts(nodes, "response")[0]


def test_a_transcript_that_a_human_pastes_or_a_tool_prints_is_no_undo(tmp_path):
    nodes, edges = mined(
        tmp_path,
        header()
        + typed("why does this fail?\n" + QUOTED.strip())
        + said("It does not.")
        + tool("Tokens: 1k")
        + typed("/run cat notes.md")
        + tool(*QUOTED.splitlines()),
    )
    assert texts(nodes, "direction")[0].startswith("why does this fail?")
    assert len(of_kind(nodes, "direction")) == 1
    assert outcomes(nodes, edges) == []


@pytest.mark.parametrize("fence", ["```python", "```", "```python\n<<<<<<< SEARCH"])
@pytest.mark.parametrize("how", ["interrupted", "token limit", "killed"])
def test_after_a_model_that_stopped_within_a_fence_the_human_is_heard(tmp_path, fence, how):
    half = f"\napi.py\n{fence}\nx = 1\ny ="
    cut = {
        "interrupted": tool("", "", "^C again to exit") + half + "\n\n",
        "token limit": half + "\n\n" + tool("", "", "Model m has hit a token limit!"),
        "killed": half + "\n\n" + header("2026-03-02 08:20:00"),
    }[how]
    whole = said("api.py\n```\nx = 1\n```") + tool("Tokens: 1k", "Commit eeeeee1 fix: x")
    nodes, edges = mined(
        tmp_path,
        header() + typed("fix x") + cut + typed("go on") + whole + typed("/undo") + tool("Removed: eeeeee1 fix: x"),
    )
    assert texts(nodes, "direction") == ["fix x", "go on"]
    assert [end[:2] for end in outcomes(nodes, edges)] == [("undo", "rejected_by")]


def test_two_answers_that_were_both_cut_within_a_fence_quote_nothing(tmp_path):
    cut = tool("", "", "^C again to exit") + "\nThe files:\n\n```\n/shop\n  api.py\n\n"
    nodes, edges = mined(
        tmp_path,
        header()
        + typed("write a large shop")
        + cut
        + header("2026-03-02 08:21:00")
        + COMMAND
        + typed("write a small shop")
        + cut
        + typed("/undo")
        + tool("The last commit was not made by aider in this chat session."),
    )
    assert texts(nodes, "direction") == ["write a large shop", "write a small shop"]
    assert [end[:2] for end in outcomes(nodes, edges)] == [("undo", "answered_by")]


@pytest.mark.parametrize(
    ("line", "signal", "how"),
    [
        ("Run pip install? y", "confirm_y", "accepted_by"),
        ("Attempt to fix lint errors? n", "confirm_n", "rejected_by"),
        ("Add the output to the chat? (y/n/instructions): n", "confirm_n", "rejected_by"),
        ("Create new file? (Y)es/(N)o [Yes]: y", "confirm_y", "accepted_by"),
        ("Run shell command? (Y)es/(N)o/(D)on't ask again [Yes]: d", "confirm_never", "rejected_by"),
        ("Add file to the chat? (Y)es/(N)o/(A)ll/(S)kip all/(D)on't ask again [Yes]: a", "confirm_all", "accepted_by"),
        ("Add URL to the chat? (Y)es/(N)o/(A)ll/(S)kip all/(D)on't ask again [No]: s", "confirm_skip", "rejected_by"),
        (
            "Git repo not found, create one to track changes (recommended) (Y)es/(N)o [Yes]: n",
            "confirm_n",
            "rejected_by",
        ),
    ],
)
def test_every_answer_that_aider_logs_is_an_outcome_of_its_question(tmp_path, line, signal, how):
    text = header() + COMMAND + typed("set it up") + said("Setting it up.") + tool("Tokens: 1k", line)
    nodes, edges = mined(tmp_path, text)
    [(found, found_how, question)] = outcomes(nodes, edges)
    assert (found, found_how) == (signal, how)
    assert line.startswith(question)
    assert of_kind(nodes, "outcome")[0]["line"] == line_of(text, line)
    assert not MemoryGraph.from_records(nodes.values(), []).problems


@pytest.mark.parametrize(
    "line",
    [
        "Run pip install? yes",
        "Add the output to the chat?\n(y/n/instructions) n",
        "Did you mean one of these?",
        "Git repo: n",
        "for item in y",
        "assert is_open('x') == y",
        "Add the output to the chat? (y/n/instructions): only the last lines",
    ],
)
def test_a_line_that_only_looks_like_an_answer_is_none(tmp_path, line):
    nodes, _ = mined(
        tmp_path,
        header() + COMMAND + typed("go") + said("Going.") + tool("Tokens: 1k", line) + typed("so?") + tool("x"),
    )
    assert of_kind(nodes, "outcome") == []
    assert texts(nodes, "response") == ["Going."]


def test_only_a_question_about_what_the_model_proposed_hangs_on_its_response(tmp_path):
    nodes, edges = mined(
        tmp_path,
        header()
        + typed("add a test")
        + said("I'd put it into a new file.")
        + tool("tests/test_tax.py", "Create new file? (Y)es/(N)o [Yes]: n", "Attempt to fix lint errors? n"),
    )
    names = {node["id"]: node for node in nodes.values()}
    held = {(names[s]["text"], names[t]["text"]) for s, t, kind in edges if kind == "proposes"}
    assert held == {
        ("I'd put it into a new file.", "Create new file?"),
        ("Attempt to fix lint errors?", "Attempt to fix lint errors?"),
    }
    assert (
        next(n for n in of_kind(nodes, "proposal") if n["text"] == "Create new file?")["subject"] == "tests/test_tax.py"
    )
    aiders = next(node for node in of_kind(nodes, "response") if node.get("by") == "aider")
    assert not any(source == aiders["id"] and kind == "responds_to" for source, _, kind in edges)


@pytest.mark.parametrize("flag", ["--yes-always", "--yes"])
def test_who_told_aider_to_say_yes_always_was_not_asked(tmp_path, flag):
    started = tool(f"/usr/local/bin/aider {flag} --message do it", "Aider v0.86.2")
    work = typed("do it") + said("Done.") + tool("a.py", "Create new file? (Y)es/(N)o [Yes]: y")
    nodes, edges = mined(tmp_path, header() + started + work + header("2026-03-02 09:00:00") + COMMAND + work)
    assert [end[1] for end in outcomes(nodes, edges)] == ["answered_by", "accepted_by"]


def test_all_for_the_rest_of_a_group_is_neither_a_direction_nor_an_answer_of_its_own(tmp_path):
    asked = "Add file to the chat? (Y)es/(N)o/(A)ll/(S)kip all/(D)on't ask again [Yes]:"
    nodes, edges = mined(
        tmp_path,
        header()
        + typed("read them")
        + said("Please add a.js and b.js.")
        + tool("a.js", f"{asked} a", "b.js")
        + typed(f"{asked} all")
        + tool(f"{asked} a")
        + said("Thanks."),
    )
    assert texts(nodes, "direction") == ["read them"]
    assert [end[:2] for end in outcomes(nodes, edges)] == [
        ("confirm_all", "accepted_by"),
        ("confirm_all", "answered_by"),
    ]


def test_the_plan_of_an_architect_and_aiders_own_prompts_are_no_directions(tmp_path):
    plan = "Move the tax into its own module.\n\n- tax.py: rates\n- invoice.py: sums"
    nodes, edges = mined(
        tmp_path,
        header()
        + typed("split the module")
        + said(plan)
        + tool("Tokens: 1k", "Edit the files? (Y)es/(N)o [Yes]: y")
        + typed(plan)
        + said("tax.py is there.")
        + tool("Tokens: 1k")
        + typed("/lint")
        + typed("# Fix any errors below, if possible.\n\n## Running: flake8 tax.py")
        + said("Fixed the import.")
        + tool("Tokens: 1k")
        + typed("/help how do I undo?")
        + typed("# Question: how do I undo?\n\n# Relevant docs: \n\nUse /undo")
        + said("Type /undo.")
        + tool("Tokens: 1k")
        + typed("<blank>")
        + typed("good")
        + tool("Tokens: 1k"),
    )
    assert texts(nodes, "direction") == ["split the module", "good"]
    assert ("confirm_y", "accepted_by", "Edit the files?") in outcomes(nodes, edges)
    answered = {source for source, _, kind in edges if kind == "responds_to"}
    assert {nodes[source]["text"] for source in answered} == {plan}


def test_a_command_is_no_direction_and_what_follows_it_answers_none(tmp_path):
    nodes, edges = mined(
        tmp_path,
        header()
        + typed("/add api.py")
        + tool("Added api.py to the chat")
        + typed("/usr/bin/python: no module named api")
        + tool("Invalid command: /usr/bin/python:")
        + typed("!ls")
        + typed("/test")
        + tool("1 failed")
        + said("The test expects a list.")
        + tool("Tokens: 1k")
        + typed("then make it one")
        + said("Made.")
        + tool("Tokens: 1k"),
    )
    assert texts(nodes, "direction") == ["then make it one"]
    assert [nodes[s]["text"] for s, _, kind in edges if kind == "responds_to"] == ["Made."]
    assert [nodes[t]["text"] for _, t, kind in edges if kind == "follows"] == ["The test expects a list."]


@pytest.mark.parametrize("repeated", [True, False])
def test_what_is_asked_with_a_command_is_one_direction(tmp_path, repeated):
    text = header() + typed("/ask who calls this?") + (typed(" who calls this?") if repeated else "")
    nodes, edges = mined(tmp_path, text + said("The scheduler does.") + tool("Tokens: 1k"))
    assert texts(nodes, "direction") == ["who calls this?"]
    assert [nodes[s]["text"] for s, _, kind in edges if kind == "responds_to"] == ["The scheduler does."]


def test_a_long_message_of_a_tool_is_not_what_the_model_said(tmp_path):
    nodes, _ = mined(
        tmp_path,
        header()
        + typed("refactor it")
        + said("Refactored.")
        + tool("Tokens: 1k", "Commit 1231231 refactor: split\n\nThe message is:\n\n#### more\n\nIt splits the method.")
        + typed("good")
        + tool("x"),
    )
    assert texts(nodes, "response") == ["Refactored."]
    assert texts(nodes, "direction") == ["refactor it", "good"]


def test_a_tools_message_whose_end_was_lost_does_not_swallow_the_human(tmp_path):
    nodes, _ = mined(
        tmp_path, header() + typed("/run make") + "> half of the out\n" + typed("stop") + tool("Tokens: 1k")
    )
    assert texts(nodes, "direction") == ["stop"]


def test_a_history_without_its_trailing_spaces_says_the_same(tmp_path):
    stripped = "".join(line.rstrip() + "\n" for line in WORK.splitlines())
    whole, bare = mined(tmp_path / "a", WORK), mined(tmp_path / "b", stripped)
    assert texts(bare[0], "direction") == texts(whole[0], "direction")
    assert [end[:2] for end in outcomes(*bare)] == [end[:2] for end in outcomes(*whole)]
    assert {n["line"] for n in of_kind(bare[0], "outcome")} == {n["line"] for n in of_kind(whole[0], "outcome")}


def test_the_same_session_elsewhere_has_the_same_ids(tmp_path):
    here, _ = mined(tmp_path / "a", WORK)
    there, _ = mined(tmp_path / "b", header("2026-01-01 00:00:00") + COMMAND + typed("hi") + said("Hi.") + WORK)
    assert here.keys() < there.keys()


def test_times_keep_the_order_of_the_lines(tmp_path):
    nodes, _ = mined(tmp_path, WORK)
    ordered = sorted((node["ts"], node["line"]) for node in nodes.values() if node["ts"] is not None)
    assert [line for _, line in ordered] == sorted(line for _, line in ordered)
