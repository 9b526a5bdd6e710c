"""Ten thousand runs in flight, for as long as one likes: ``python -m tests.soak --seconds 60``.

``flows``     what the runs do: steps, waits, blocks, children, compensations
``load``      a process that keeps so many of them in flight, sends, cancels, prunes, and opens anew
``campaign``  starts such processes one after the other, kills some, reads beside them, and judges

Callers wait for every run, so that each end is known, and a run that is gone without an end is found out.
Memory and the file are looked at while all runs are in flight; neither may grow with the time that passes.
"""
