"""Kills a worker process, over and over, and checks that nothing was lost, repeated or made up.

The way of one *episode*:

``runner``     a warm process that has imported everything; per boot it forks a child ...
``worker``     ... which opens the engine on the database, starts the scenario's runs and waits for their ends
``bodies``     what the steps do: a script says how each attempt ends; each execution returns another value
``asking``     what they ask for in between: waits, people, other runs
``scenarios``  the workflows and the runs of each scenario; those that wait, choose and undo are in ``flows``
``senders``    who sends events and answers, before, while and after they are waited for
``steerers``   who retries, forks, pauses and deletes runs, some by way of a client
``effects``    the effects journal: one ``os.write`` per line to an ``O_APPEND`` file, which no SIGKILL loses
``faults``     how a boot ends: a failpoint, a line of the journal, a moment, a write (``shim.c``), SIGTERM
``dumps``      what is on the disk after each boot, from a copy that nothing has recovered yet
``model``      the episode as plain data
``eras``       a run that was let go on, as several, each with an end of its own
``drafts``     episodes made by hand, for the checker's own tests; also ``flow_drafts``
``checker``    a pure function from that data to violations; ``check_*`` hold the invariants by number
``seeding``    how a bug of the engine is seeded; ``bugs``, ``flow_bugs`` and ``steering_bugs`` must be found
``campaign``   which episodes make up the suite, and the processes that run them

``python -m tests.crash --minutes 10`` runs random episodes for as long as one likes.
"""
