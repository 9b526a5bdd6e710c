/* Counts the writes and syncs of data.mdb, and at the n-th of a kind has the process die, or the call fail.
 *
 * Loaded with LD_PRELOAD, armed by crash_arm() after the fork; until then every call passes through. LMDB
 * without writemap writes in no other way: pages with pwrite or writev, then fdatasync, then one of its two
 * meta pages through a descriptor with O_DSYNC, which makes the commit.
 *
 *   operation  'P' a write of pages, 'S' a sync, 'M' the write of a meta page
 *   action     'b' die before the call, 'a' die after it, 't' die after the first `arg` percent of it,
 *              'l' die before the call, and lose sectors that were written since the last sync (a power cut),
 *              'e' fail with errno `arg`, nothing done; 'd' do it, then fail with errno `arg`
 *              'c' only count: each operation is appended to the file `arg` (a descriptor)
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

#define SECTOR 512
#define META_BYTES (2 * 4096)

struct undo {
    struct undo *older;
    int fd;
    off_t offset, old_size;
    size_t length;
    char old[];
};

static struct {
    char operation, action;
    int left;
    long arg;
    int journal;      /* the effects journal */
    char line[256];   /* what is written there: a printf format with one %lld, for the time */
    char image[4096]; /* where a copy of the file goes at the moment of a fault */
} armed;
static struct undo *unsynced;

static ssize_t (*real_pwrite)(int, const void *, size_t, off_t);
static ssize_t (*real_writev)(int, const struct iovec *, int);
static int (*real_fdatasync)(int);
static int (*real_fsync)(int);

__attribute__((constructor)) static void find_real(void) {
    real_pwrite = dlsym(RTLD_NEXT, "pwrite");
    real_writev = dlsym(RTLD_NEXT, "writev");
    real_fdatasync = dlsym(RTLD_NEXT, "fdatasync");
    real_fsync = dlsym(RTLD_NEXT, "fsync");
}

void crash_arm(char operation, int n, char action, long arg, int journal, const char *line, const char *image) {
    armed.left = n;
    armed.action = action;
    armed.arg = arg;
    armed.journal = journal;
    snprintf(armed.line, sizeof armed.line, "%s", line);
    snprintf(armed.image, sizeof armed.image, "%s", image);
    armed.operation = operation;
}

static int is_data(int fd) {
    char link[64], path[4096];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t length = readlink(link, path, sizeof path - 1);
    if (length < 9) return 0;
    path[length] = 0;
    return !strcmp(path + length - 9, "/data.mdb");
}

static void tell(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    dprintf(armed.journal, armed.line, (long long)now.tv_sec * 1000000000 + now.tv_nsec);
}

static void take_image(int fd) {
    char block[1 << 16];
    off_t offset = 0;
    ssize_t length;
    int copy = open(armed.image, O_WRONLY | O_CREAT | O_EXCL, 0600);
    if (copy < 0) return;
    char link[64];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    int readable = open(link, O_RDONLY); /* the meta descriptor is write-only */
    while ((length = pread(readable, block, sizeof block, offset)) > 0)
        offset += real_pwrite(copy, block, length, offset);
    close(readable);
    close(copy);
}

__attribute__((noreturn)) static void die(void) {
    tell();
    kill(getpid(), SIGKILL);
    for (;;) pause();
}

/* Each sector that was written since the last sync is, by chance, on the disk or not. */
static void lose_sectors(void) {
    off_t smallest = -1;
    int fd = -1;
    for (struct undo *step = unsynced; step; step = step->older) {
        fd = step->fd;
        if (smallest < 0 || step->old_size < smallest) smallest = step->old_size;
        for (size_t at = 0; at < step->length; at += SECTOR) {
            unsigned long sector = (step->offset + at) / SECTOR;
            if (((sector * 2654435761u + armed.arg * 40503u) >> 7) % 3) {
                size_t length = step->length - at < SECTOR ? step->length - at : SECTOR;
                real_pwrite(fd, step->old + at, length, step->offset + at);
            }
        }
    }
    if (smallest >= 0 && armed.arg % 2 && ftruncate(fd, smallest)) abort(); /* nor is the new size */
}

static void remember(int fd, off_t offset, size_t length) {
    struct stat now;
    struct undo *step = calloc(1, sizeof *step + length);
    if (fstat(fd, &now) || pread(fd, step->old, length, offset) < 0) abort();
    *step = (struct undo){unsynced, fd, offset, now.st_size, length};
    unsynced = step;
}

/* 0: go on with the call; 1: fail it, undone; 2: do it, then fail; 3: do it, then die; 4: tear it. */
static int decide(char operation, int fd) {
    if (armed.action == 'c') {
        if (write((int)armed.arg, &operation, 1) != 1) abort();
        return 0;
    }
    if (armed.operation != operation || --armed.left) return 0;
    switch (armed.action) {
    case 'b': die();
    case 'l': lose_sectors(); die();
    case 'e': take_image(fd); tell(); return 1;
    case 'd': take_image(fd); tell(); return 2;
    case 'a': return 3;
    default: return 4;
    }
}

static ssize_t conclude(int what, ssize_t result) {
    if (what == 3) die();
    if (what != 2) return result;
    errno = (int)armed.arg;
    return -1;
}

static ssize_t put(int fd, const struct iovec *parts, int count, off_t offset) {
    size_t total = 0;
    for (int i = 0; i < count; i++) total += parts[i].iov_len;
    int meta = offset < META_BYTES && total < 4096;
    int what = decide(meta ? 'M' : 'P', fd);
    if (what == 1) {
        errno = (int)armed.arg;
        return -1;
    }
    size_t wanted = total;
    if (what == 4) {
        wanted = total * armed.arg / 100;
        if (!meta) wanted -= wanted % SECTOR;
    }
    if (armed.action == 'l' && !(fcntl(fd, F_GETFL) & O_DSYNC)) remember(fd, offset, wanted);
    size_t written = 0;
    for (int i = 0; i < count && written < wanted; i++) {
        size_t length = parts[i].iov_len < wanted - written ? parts[i].iov_len : wanted - written;
        if (real_pwrite(fd, parts[i].iov_base, length, offset + written) != (ssize_t)length) return -1;
        written += length;
    }
    if (what == 4) die();
    return conclude(what, total);
}

ssize_t pwrite(int fd, const void *data, size_t length, off_t offset) {
    if (!armed.operation || !is_data(fd)) return real_pwrite(fd, data, length, offset);
    struct iovec part = {(void *)data, length};
    return put(fd, &part, 1, offset);
}

ssize_t pwrite64(int fd, const void *data, size_t length, off_t offset) { return pwrite(fd, data, length, offset); }

ssize_t writev(int fd, const struct iovec *parts, int count) {
    if (!armed.operation || !is_data(fd)) return real_writev(fd, parts, count);
    off_t offset = lseek(fd, 0, SEEK_CUR);
    ssize_t written = put(fd, parts, count, offset);
    if (written > 0) lseek(fd, offset + written, SEEK_SET);
    return written;
}

static int sync_with(int (*real)(int), int fd) {
    if (!armed.operation || !is_data(fd)) return real(fd);
    int what = decide('S', fd);
    if (what == 1) {
        errno = (int)armed.arg;
        return -1;
    }
    int result = real(fd);
    while (!result && unsynced) {
        struct undo *older = unsynced->older;
        free(unsynced);
        unsynced = older;
    }
    return (int)conclude(what, result);
}

int fdatasync(int fd) { return sync_with(real_fdatasync, fd); }

int fsync(int fd) { return sync_with(real_fsync, fd); }
