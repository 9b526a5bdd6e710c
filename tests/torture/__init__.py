"""Everything that is done to the engine, in one program.

``python -m tests.torture --minutes 60`` goes on for so long; ``--ci`` does the counts that each change must
pass; ``--json FILE`` keeps the counts, from which ``docs/reliability.md`` is filled in.
"""
