"""Each example as its reader meets it: as a program, as a workflow of the command line, and as a text."""

from __future__ import annotations

import functools
import json
import shlex

import pytest
from example_helpers import EXAMPLES, NAMES, load, output_of, run_command, run_example

from durable_trio import Workflow, open_engine

pytestmark = pytest.mark.slow

IN_MEMORY = {"trial_reminder"}  # it waits for weeks, on a mock clock
WITHOUT_COMMAND = {"trial_reminder", "payment_flow"}  # by themselves they would wait for days
STORIES = [name for name in NAMES if name != "checksums"]  # that one has tests of its own


def test_no_example_is_forgotten():
    assert {path.stem for path in EXAMPLES.glob("*.py")} == set(NAMES)


@pytest.fixture(scope="module")
def story(tmp_path_factory):
    """What an example prints without arguments, run once; it must leave nothing behind."""

    @functools.cache
    def tell(name):
        folder = tmp_path_factory.mktemp(name)
        text = output_of(name, cwd=folder)
        assert list(folder.iterdir()) == []
        return text

    return tell


@pytest.mark.parametrize("name", [name for name in NAMES if name not in IN_MEMORY])
def test_help_says_what_it_does(name, tmp_path):
    text = output_of(name, "--help", cwd=tmp_path)
    assert "--db" in text
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", [name for name in STORIES if name not in IN_MEMORY])
async def test_a_database_that_is_named_is_kept(name, tmp_path):
    output_of(name, "--db", "app.lmdb", cwd=tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["app.lmdb"]
    workflow = getattr(load(name), name)
    async with open_engine(tmp_path / "app.lmdb", workflows=[workflow]) as engine:
        assert await engine.list(workflow=workflow)


@pytest.mark.parametrize("name", NAMES)
def test_the_workflow_has_the_files_name(name):
    workflow = getattr(load(name), name)
    assert isinstance(workflow, Workflow)
    assert workflow.name == name


@pytest.mark.parametrize("name", [name for name in NAMES if name not in WITHOUT_COMMAND])
def test_the_command_in_the_docstring_runs(name, tmp_path):
    (tmp_path / "examples").symlink_to(EXAMPLES)
    (tmp_path / "README.md").write_text("for checksums\n")
    text = load(name).__doc__
    words = shlex.split(text[text.index("durable-trio run") :].split("\n\n")[0])
    assert words[1:3] == ["run", f"examples/{name}.py:{name}"]
    process = run_command("-m", "durable_trio", *words[1:], cwd=tmp_path)
    assert process.returncode == 0, process.stderr
    assert isinstance(json.loads(process.stdout), dict)
    assert (tmp_path / words[words.index("--db") + 1]).is_dir()


@pytest.mark.parametrize("name", ["order_processing", "dashboard"])
def test_a_run_that_fails_shows_in_the_exit_status_of_the_command(name, tmp_path):
    data = {
        "order_id": 4,
        "item": "desk",
        "card": "unsure",
        "sales": "down",
        "stock": "down",
        "visitors": "down",
    }
    arguments = [f"{EXAMPLES / name}.py:{name}", "--input", json.dumps(data), "--db", "app.lmdb"]
    process = run_command("-m", "durable_trio", "run", *arguments, cwd=tmp_path)
    assert process.returncode == 1
    assert {"order_processing": "order validation failed", "dashboard": "no source answered"}[
        name
    ] in process.stderr + process.stdout


@pytest.mark.parametrize("name", NAMES)
def test_is_short_and_uses_public_names_only(name):
    text = (EXAMPLES / f"{name}.py").read_text()
    assert 60 <= text.count("\n") <= 160
    assert "durable_trio._" not in text
    assert "import durable_trio" not in text


# -- what the stories tell ---------------------------------------------------------------------------


def test_onboarding_goes_on_after_the_outage_and_sends_nothing_twice(story):
    text = story("onboarding")
    assert text.count("=> completed: ") == 2
    assert text.count("=> failed: ConnectionError: billing is down\n") == 1
    assert text.endswith("Sent by this program: 2 mails, 2 billing accounts opened.\n")


def test_onboarding_knows_its_users_the_second_time(tmp_path):
    output_of("onboarding", "--db", "app.lmdb", cwd=tmp_path)
    text = output_of("onboarding", "--db", "app.lmdb", cwd=tmp_path)
    assert "Ada is known:" in text
    assert "Grace is known:" in text
    assert "failed" not in text
    assert text.endswith("Sent by this program: 0 mails, 0 billing accounts opened.\n")


def test_dashboard_shows_a_page_with_and_without_gaps(story):
    ada, grace, alan = story("dashboard").split("The page of ")[1:]
    assert "not available" not in ada
    assert "sales      today 42, yesterday 37" in grace
    assert "stock      -- not available: no route to stock" in grace
    assert "visitors   -- not available: took too long" in grace
    assert alan.startswith("Alan: failed\n")
    assert alan.count("not available") == 3


def test_order_processing_prints_the_four_ends(story):
    text = story("order_processing")
    ready, declined, out_of_stock, invalid = text.split("Order ")[1:]
    assert "validate -> checks -> fulfill_order\n" in ready
    assert "'fulfilled': True" in ready
    assert "validate -> checks -> handle_payment_issue\n" in declined
    assert "'needs_payment_retry': True" in declined
    assert "validate -> checks -> handle_backorder\n" in out_of_stock
    assert "'backordered': True" in out_of_stock
    assert "validate -> checks\n  => failed: order validation failed\n" in invalid


def test_notifications_reaches_who_can_be_reached(story):
    text = story("notifications")
    ada, grace, alan = text.split("To ")[1:]
    assert "'reached_by': ['email', 'sms'], 'failed': {}" in ada
    assert "'reached_by': ['email'], 'failed': {'sms': 'ConnectionError: sms is down'}" in grace
    assert "channels/send_sms      error after 2 attempts" in grace
    assert "=> failed: {'nobody was reached': {'email': " in alan
    assert text.endswith("Sent: 2 by email, 1 by SMS.\n")


def test_external_api_counts_the_attempts(story):
    flaky, dead, unknown = conversions = story("external_api").split("The service ")[1:]
    for conversion in conversions:
        assert conversion.index("gather/compute_fee") < conversion.index("gather/fetch_rate")
    assert "after 3 attempts\n" in flaky
    assert "=> completed: {'amount': 99.0, 'currency': 'EUR', 'fee': 2.0}" in flaky
    assert "after 5 attempts\n  => failed: ConnectionError: 503 Service Unavailable" in dead
    assert "after 1 attempt\n  => failed: 404 Not Found: XYZ" in unknown


def test_isolation_prints_the_untouched_cart_three_times(story):
    text = story("isolation")
    untouched = "{'cart': {'owner': 'Ada', 'items': ['lamp', 'desk']}, 'coupon': 'SPRING'}"
    assert text.count(untouched) == 3
    assert "the vandal leaves         {'cart': {'owner': 'a vandal', 'items': []}" in text


def test_checksums_refuses_what_is_no_folder(tmp_path):
    process = run_example("checksums", "nowhere", cwd=tmp_path)
    assert process.returncode == 2
    assert "nowhere is not a folder" in process.stderr
    assert list(tmp_path.iterdir()) == []
