import sys
from hypothesis import settings, HealthCheck, Phase, Verbosity
from hypothesis.stateful import run_state_machine_as_test
from machine import Machine
n=int(sys.argv[1]); steps=int(sys.argv[2])
import time, logging; logging.basicConfig(level=logging.ERROR)
t=time.time()
phases=[Phase.generate]+([Phase.shrink] if "shrink" in sys.argv else [])
try:
    run_state_machine_as_test(Machine, settings=settings(max_examples=n, stateful_step_count=steps, deadline=None, suppress_health_check=list(HealthCheck), phases=phases, database=None, derandomize="rand" not in sys.argv, report_multiple_bugs=False))
finally:
    print("took", time.time()-t)
