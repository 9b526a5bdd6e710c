"""Hostile bytes: damaged, cut off, spliced and foreign database files, and damaged records.

``corpus``    databases to start from: what an engine wrote, at several moments of its life
``mutations`` what is done to a file
``reading``   a forked child opens the file and reads everything: a typed error, or what was written
``records``   damaged headers and journal rows, without their seal: what the decoder makes of them
``campaign``  many of both
``guided``    records again, by a fuzzer that is guided by coverage, where atheris is installed

``python -m tests.fuzz --files 5000`` goes through files, ``python -m tests.fuzz.guided`` through records.
"""
