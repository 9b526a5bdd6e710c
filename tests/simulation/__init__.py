"""The real engine in a world of its own: seeded scheduling, virtual time, a disk that obeys.

One seed makes one *episode*: workflows and runs are drawn, an engine is opened on an empty disk, and the
world crashes it again and again. Each time, all that is left is the disk's image and what was written to the
effects journal up to that moment. After the last crash the engine is left alone, and every run must end. Then
the checker of ``tests/crash`` looks at the episode, and ``oracle`` at what that one does not know.

``world``     one life: time, chance, the effects journal, and when it crashes
``disk``      a store whose commits land later than they are made, and a committer whose thread is a task
``rules``     what must be replaced so that nothing but the seed decides: threads, ids, the scheduler's dice
``drawing``   random workflows of all kinds of nodes
``bodies``    what their steps do
``clients``   who starts, cancels and writes to the runs, some from another process
``meddling``  who retries, forks, pauses and deletes them
``episode``   lives, one after the other
``facts``     what is on the disk, as the checkers want it
``oracle``    the invariants of waits, messages, children and compensations
``bugs``      seeded bugs of the engine: each must be found
``campaign``  many seeds, and what they come to

The idea is FoundationDB's: Zhou et al., "FoundationDB: A Distributed Unbundled Transactional Key Value Store"
(2021), section 4. What it cannot see is what the world leaves out: threads that really run beside each other,
the file system, and LMDB itself. Those belong to ``tests/crash`` and ``tests/faults``.

``python -m tests.simulation --seed 7`` shows one episode, ``--minutes 10`` goes on with new ones.
"""
