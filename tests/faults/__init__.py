"""Power loss and failing system calls, under the real store.

``record.c``    a library to preload: it logs the writes and syncs of data.mdb, or has one of them fail
``recording``   a workload whose writes are logged once, together with what its callers were told
``power``       from that log, every state that a power cut could have left on the disk; each is opened
``calls``       a workload in which one system call fails; what was acknowledged must be there after it

The library knows LMDB's way without writemap: pages with pwrite or writev, then fdatasync, then one of its
two meta pages through a descriptor with O_DSYNC, which makes the commit.
"""
