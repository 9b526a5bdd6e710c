"""Durable workflows with structured concurrency, embedded in a Trio program.

See ``README.md`` for a quick start and ``docs/guarantees.md`` for what is promised.
"""

from durable_trio._context import Context as Context
from durable_trio._context import CurrentStep as CurrentStep
from durable_trio._context import parallel_ok as parallel_ok
from durable_trio._context import parallel_result as parallel_result
from durable_trio._context import parallel_results as parallel_results
from durable_trio._context import step_info as step_info
from durable_trio._definition.workflow import Workflow as Workflow
from durable_trio._engine.checkup import check_database as check_database
from durable_trio._engine.children import call_workflow as call_workflow
from durable_trio._engine.children import start_workflow as start_workflow
from durable_trio._engine.client import Client as Client
from durable_trio._engine.client import open_client as open_client
from durable_trio._engine.clientrun import ClientRun as ClientRun
from durable_trio._engine.engine import Engine as Engine
from durable_trio._engine.handle import Run as Run
from durable_trio._engine.instep import sleep as sleep
from durable_trio._engine.instep import sleep_until as sleep_until
from durable_trio._engine.instep import wait_for_all as wait_for_all
from durable_trio._engine.instep import wait_for_any as wait_for_any
from durable_trio._engine.instep import wait_for_approval as wait_for_approval
from durable_trio._engine.instep import wait_for_choice as wait_for_choice
from durable_trio._engine.instep import wait_for_event as wait_for_event
from durable_trio._engine.instep import wait_for_form as wait_for_form
from durable_trio._engine.instep import wait_for_input as wait_for_input
from durable_trio._engine.instep import wait_for_text as wait_for_text
from durable_trio._engine.lifetime import open_engine as open_engine
from durable_trio._errors import DefinitionError as DefinitionError
from durable_trio._errors import DurableError as DurableError
from durable_trio._errors import EngineClosed as EngineClosed
from durable_trio._errors import InputError as InputError
from durable_trio._errors import RunBlocked as RunBlocked
from durable_trio._errors import RunCancelled as RunCancelled
from durable_trio._errors import RunFailed as RunFailed
from durable_trio._errors import RunNotFound as RunNotFound
from durable_trio._errors import SnapshotError as SnapshotError
from durable_trio._errors import StoreCorrupt as StoreCorrupt
from durable_trio._errors import StoreError as StoreError
from durable_trio._errors import StoreFull as StoreFull
from durable_trio._errors import StoreLocked as StoreLocked
from durable_trio._errors import WaitTimeout as WaitTimeout
from durable_trio._info import CompensationInfo as CompensationInfo
from durable_trio._info import DatabaseInfo as DatabaseInfo
from durable_trio._info import DatabaseReport as DatabaseReport
from durable_trio._info import HistoryInfo as HistoryInfo
from durable_trio._info import PendingInput as PendingInput
from durable_trio._info import RunInfo as RunInfo
from durable_trio._info import StepInfo as StepInfo
from durable_trio._retry import Retry as Retry
from durable_trio._values import Err as Err
from durable_trio._values import Failure as Failure
from durable_trio._values import Finish as Finish
from durable_trio._values import Goto as Goto
from durable_trio._values import Ok as Ok

__version__ = "0.1.0"
