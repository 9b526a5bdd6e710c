"""``checksums`` on folders made here: against values computed otherwise, and through kills and changes."""

from __future__ import annotations

import fcntl
import hashlib
import io
import os
import random
import re
import shutil
import subprocess
import sys
import threading
import zlib
from types import SimpleNamespace

import pytest
import trio
import trio.testing
from example_helpers import command, environment, load, output_of, step_of

from durable_trio import open_client, open_engine

_PATIENCE = 60
_ROW = re.compile(r"([0-9a-f]{64}|-) +(\d+|-) +(\d+|-) +(\d+|-) +(\d+|-)  (.+)")
_SUMMARY = re.compile(r"\n(\d+) files, (\d+) bytes: (\d+) done now, (\d+) known before, (\d+) not read\n$")


@pytest.fixture
def checksums():
    return load("checksums")


@pytest.fixture
def folder(tmp_path):
    """A folder with all kinds of files that can be read."""
    noise = random.Random(7)
    root = tmp_path / "input"
    (root / "nested" / "deeper").mkdir(parents=True)
    contents = {
        "empty": b"",
        "plain.txt": b"one two\nthree\n",
        "no newline at the end": b"  lead and trail  \n\n end",
        "blank": b" \t\r\n\x0b\x0c\n",
        "-n": b"a name that looks like an option\n",
        "naïve 文件.txt": "Grüße aus 東京\n".encode(),
        "two\nlines": b"in its name\n",
        os.fsdecode(b"not-\xff-text"): b"in its name\n",
        "binary": bytes(range(256)) * 3 + b"\0" * 100,
        "nested/random": noise.randbytes(100_000),
        "nested/deeper/many pieces": b"some words, and then some more\n" * 40_000,
        "nested/deeper/one long word": b"x" * 600_000,
    }
    for name, content in contents.items():
        (root / name).write_bytes(content)
    return root


@pytest.fixture
def many(tmp_path):
    """More files than fit into such a pipe, and more than are in flight."""
    root = tmp_path / "many"
    root.mkdir()
    for number in range(80):
        text = f"file {number}\n" * (1 + 200 * number)
        (root / f"{number:03} {'long name ' * 5}.txt").write_text(text)
    return root


def shown(path):
    return str(path) if str(path).isprintable() else repr(str(path))


def expected_rows(root):
    """What the table must say, computed from whole files."""
    rows = {}
    for path in root.rglob("*"):
        if path.is_file():
            data = path.read_bytes()
            rows[shown(path)] = (
                hashlib.sha256(data).hexdigest(),
                str(len(data.splitlines()) if path.name == "plain.txt" else data.count(b"\n")),
                str(len(re.findall(rb"[^ \t\r\n\x0b\x0c]+", data))),
                str(len(data)),
                str(len(zlib.compress(data))),
            )
    return rows


def rows_of(text):
    """Name to columns, of each line of the table."""
    found = [_ROW.fullmatch(line) for line in text.splitlines()]
    rows = [(row[6], row.groups()[:5]) for row in found if row]
    assert len(dict(rows)) == len(rows)  # no file has two lines
    return dict(rows)


def summary_of(text):
    """files, bytes, done now, known before, not read."""
    return tuple(int(number) for number in _SUMMARY.search(text).groups())


def sizes_of(root):
    return [path.stat().st_size for path in root.rglob("*") if path.is_file()]


async def recorded(db):
    """Everything in the database, by the run's id."""
    async with open_client(db) as client:
        return {run.id: await client.get(run.id) for run in await client.list(limit=1000)}


# -- the numbers -------------------------------------------------------------------------------------


def test_the_table_agrees_with_values_computed_in_another_way(folder, tmp_path):
    text = output_of("checksums", folder, cwd=tmp_path)
    assert rows_of(text) == expected_rows(folder)
    sizes = sizes_of(folder)
    assert summary_of(text) == (len(sizes), sum(sizes), len(sizes), 0, 0)


@pytest.mark.skipif(shutil.which("wc") is None, reason="there is no wc here to compare with")
def test_the_counts_are_those_of_wc(folder, tmp_path):
    rows = rows_of(output_of("checksums", folder, cwd=tmp_path))
    for name in ("empty", "plain.txt", "no newline at the end", "blank", "nested/deeper/many pieces"):
        with (folder / name).open("rb") as file:
            words = {**os.environ, "LC_ALL": "C"}
            counted = subprocess.run(["wc", "-lwc"], stdin=file, env=words, capture_output=True, check=True)
        assert list(rows[str(folder / name)][1:4]) == counted.stdout.decode().split()


@pytest.mark.parametrize("piece", [1, 2, 3, 5, 1000])
@pytest.mark.parametrize(
    "data", [b"", b" ", b"a", b" a bb\tccc\n\ndddd  e", b"aa\n", b"\n\nend ", b"abc def"]
)
def test_the_borders_of_pieces_do_not_show(checksums, tmp_path, monkeypatch, piece, data):
    monkeypatch.setattr(checksums, "PIECE", piece)
    path = tmp_path / "file"
    path.write_bytes(data)
    ctx = checksums.look({"path": str(path)}).value
    assert checksums.count(ctx).value == {"lines": data.count(b"\n"), "words": len(data.split())}
    assert checksums.sha256(ctx).value == hashlib.sha256(data).hexdigest()
    assert checksums.compress(ctx).value == len(zlib.compress(data))


@pytest.mark.slow
def test_the_database_is_not_listed_when_it_is_in_the_folder(folder):
    before = expected_rows(folder)
    assert rows_of(output_of("checksums", ".", cwd=folder)) == before
    assert (folder / "checksums.lmdb").is_dir()
    text = output_of("checksums", ".", "--db", "other.lmdb", cwd=folder)
    assert not any("other.lmdb" in name for name in rows_of(text))


async def test_a_line_is_out_as_soon_as_it_is_printed(checksums, folder, tmp_path, monkeypatch):
    out = io.BytesIO()  # what has got through the buffer above it: that of a pipe or a file
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(out, "utf-8", "backslashreplace"))
    await checksums.main(folder, tmp_path / "app.lmdb")
    assert rows_of(out.getvalue().decode()) == expected_rows(folder)


async def test_few_files_are_in_flight_at_once(checksums, many, tmp_path):
    entered, let_go = [], threading.Event()
    all_busy = trio.Event()

    def compressor():
        entered.append(1)
        if len(entered) == checksums.IN_FLIGHT:
            trio.from_thread.run_sync(all_busy.set)
        assert let_go.wait(_PATIENCE)
        return zlib.compressobj()

    checksums.zlib = SimpleNamespace(compressobj=compressor)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(checksums.main, many, tmp_path / "app.lmdb")
        try:
            with trio.fail_after(_PATIENCE):
                await all_busy.wait()
                while len(await recorded(tmp_path / "app.lmdb")) < checksums.IN_FLIGHT:
                    pass  # the last of them are on their way to the disk
                for _ in range(50):  # whoever would start one more has the opportunity
                    await trio.testing.wait_all_tasks_blocked()
            under_way = await recorded(tmp_path / "app.lmdb")
        finally:
            let_go.set()
    assert len(under_way) == checksums.IN_FLIGHT
    assert len(entered) == len(await recorded(tmp_path / "app.lmdb")) == 80


# -- what cannot be read -----------------------------------------------------------------------------


def test_what_cannot_be_read_is_reported_and_the_rest_is_done(folder, tmp_path):
    rows = expected_rows(folder)
    (folder / "dangling").symlink_to("nowhere")
    (folder / "loop").symlink_to("loop")
    (folder / "nested" / "link").symlink_to("random")
    (folder / "to a folder").symlink_to("nested")
    os.mkfifo(folder / "pipe")
    rows[str(folder / "nested" / "link")] = rows[str(folder / "nested" / "random")]
    nothing = ("-",) * 5
    rows |= {
        f"{folder / 'dangling'}: No such file or directory": nothing,
        f"{folder / 'loop'}: Too many levels of symbolic links": nothing,
        f"{folder / 'pipe'}: not a regular file": nothing,
    }
    text = output_of("checksums", folder, cwd=tmp_path)
    assert rows_of(text) == rows
    assert summary_of(text)[2:] == (len(rows) - 3, 0, 3)
    assert summary_of(output_of("checksums", folder, cwd=tmp_path))[2:] == (0, len(rows) - 3, 3)


async def test_a_folder_that_cannot_be_read_is_reported(checksums, tmp_path, capsys):
    # Gone between the command and its work, which a folder in a folder may be at any time.
    await checksums.main(tmp_path / "gone", tmp_path / "app.lmdb")
    text = capsys.readouterr().out
    assert rows_of(text) == {f"{tmp_path / 'gone'}: No such file or directory": ("-",) * 5}
    assert summary_of(text) == (1, 0, 0, 0, 1)


async def test_a_file_that_changes_while_it_is_read_has_no_result(checksums, tmp_path):
    path = tmp_path / "file"
    path.write_bytes(b"before")
    data = checksums.look({"path": os.fsencode(path)}).value
    path.write_bytes(b"after it")
    async with open_engine(tmp_path / "app.lmdb", workflows=[checksums.checksums]) as engine:
        info = await (await engine.start(checksums.checksums, data)).wait()
    assert info.status == "failed"
    assert info.error.message == "the file has changed since it was looked at"


async def test_a_file_that_could_not_be_read_is_tried_again_the_next_time(checksums, tmp_path, capsys):
    root, db = tmp_path / "input", tmp_path / "app.lmdb"
    root.mkdir()
    path = root / "file"
    path.write_bytes(b"some words\n")
    away = tmp_path / "away"
    look = trio.Path.stat

    async def stat(self):
        """The file vanishes between the look that gives the run its id, and its first step."""
        status = await look(self)
        if path.exists():
            path.rename(away)
        return status

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(trio.Path, "stat", stat)
        await checksums.main(root, db)
    first = capsys.readouterr().out
    assert "FileNotFoundError" in first
    assert summary_of(first)[2:] == (0, 0, 1)

    away.rename(path)
    await checksums.main(root, db)
    second = capsys.readouterr().out
    assert rows_of(second) == expected_rows(root)
    assert summary_of(second)[2:] == (1, 0, 0)
    async with open_client(db) as client:
        assert len(await client.list()) == 1  # the same run, which went on


# -- again, and after a kill -------------------------------------------------------------------------


async def test_a_second_time_nothing_is_read_again(folder, tmp_path):
    first = output_of("checksums", folder, cwd=tmp_path)
    before = await recorded(tmp_path / "checksums.lmdb")
    second = output_of("checksums", folder, cwd=tmp_path)
    assert rows_of(second) == rows_of(first)
    files = len(rows_of(first))
    assert summary_of(second)[2:] == (0, files, 0)
    assert await recorded(tmp_path / "checksums.lmdb") == before


@pytest.mark.slow
def test_only_what_has_changed_is_read_again(folder, tmp_path):
    output_of("checksums", folder, cwd=tmp_path)
    (folder / "plain.txt").write_bytes(b"longer than it was before\n")
    (folder / "new").write_bytes(b"new\n")
    os.utime(folder / "binary", ns=(1, 1))  # it may have been written to
    text = output_of("checksums", folder, cwd=tmp_path)
    assert rows_of(text) == expected_rows(folder)
    assert summary_of(text)[2:] == (3, len(rows_of(text)) - 3, 0)


def killed_after(lines, root, cwd):
    """Start it, and kill it as soon as it has printed so many lines; gives them.

    Its pipe is made so small that it cannot print all its lines before they are read: it cannot be done.
    """
    with subprocess.Popen(
        command("checksums", root), cwd=cwd, env=environment(), stdout=subprocess.PIPE, bufsize=0
    ) as process:
        fcntl.fcntl(process.stdout, fcntl.F_SETPIPE_SZ, 4096)
        printed = [process.stdout.readline().decode() for _ in range(lines)]
        process.kill()
        process.wait(_PATIENCE)
    assert process.returncode == -9
    return "".join(printed)


@pytest.mark.slow
async def test_after_a_kill_only_the_unfinished_is_done(many, tmp_path):
    printed = rows_of(killed_after(6, many, tmp_path))
    assert len(printed) == 5  # the first line is the header
    before = await recorded(tmp_path / "checksums.lmdb")
    done = {run_id: info for run_id, info in before.items() if info.finished_at is not None}
    assert 5 <= len(done) < 80
    # A line that was seen is a file that is done.
    assert set(printed) <= {os.fsdecode(info.input["path"]) for info in done.values()}

    text = output_of("checksums", many, cwd=tmp_path)
    assert rows_of(text) == expected_rows(many)
    sizes = sizes_of(many)
    assert summary_of(text) == (80, sum(sizes), 80 - len(done), len(done), 0)

    after = await recorded(tmp_path / "checksums.lmdb")
    assert len(after) == 80
    assert {info.status for info in after.values()} == {"completed"}
    for run_id, info in before.items():
        if run_id in done:
            assert after[run_id] == info
        for step in info.steps:
            if step.status == "ok":  # a branch of an unfinished run that was done stays done
                assert step_of(after[run_id], step.path) == step


async def test_a_file_goes_on_branch_by_branch(checksums, tmp_path):
    path, db, image = tmp_path / "file", tmp_path / "app.lmdb", tmp_path / "image.lmdb"
    path.write_bytes(b"some words\n")
    data = {"path": os.fsencode(path)}
    let_go = threading.Event()

    def compressor():
        assert let_go.wait(_PATIENCE)
        return zlib.compressobj()

    checksums.zlib = SimpleNamespace(compressobj=compressor)
    async with open_engine(db, workflows=[checksums.checksums]) as engine:
        run = await engine.start(checksums.checksums, data, id="run")
        with trio.fail_after(_PATIENCE):
            done = set()
            while not {"read/sha256", "read/count"} <= done:
                done = {step.path for step in (await engine.get("run")).steps if step.status == "ok"}
        shutil.copytree(db, image)  # what a kill at this moment leaves
        let_go.set()
        whole = await run.result()

    after = load("checksums")
    pieces, read = after.pieces, []
    after.pieces = lambda ctx: read.append(ctx) or pieces(ctx)
    async with open_engine(image, workflows=[after.checksums]) as engine:
        assert await engine.run(after.checksums, data, id="run") == whole
    assert len(read) == 1


@pytest.mark.slow
def test_however_often_it_is_killed_it_comes_to_the_end(many, tmp_path):
    printed = {}
    # The header is the first line: after that, it may be killed while it makes the database.
    for lines in (1, 1, 2, 10, 4, 1, 12):
        for name, columns in rows_of(killed_after(lines, many, tmp_path)).items():
            assert printed.setdefault(name, columns) == columns
    text = output_of("checksums", many, cwd=tmp_path)
    assert rows_of(text) == expected_rows(many)
    assert printed.items() <= rows_of(text).items()
    files, _, done_now, known_before, not_read = summary_of(text)
    assert (files, not_read) == (80, 0)
    assert len(printed) <= known_before < 80
    assert done_now + known_before == 80
