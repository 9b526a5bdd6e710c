/* Logs the writes and syncs of data.mdb, and has the n-th call of a kind fail.
 *
 * Loaded with LD_PRELOAD. A log entry is one write: an operation, an offset, a length, and so many bytes.
 *   'W' a write of pages begins        'S' a sync has succeeded
 *   'M' a write of a meta page begins  'm' it has succeeded (its descriptor has O_DSYNC)
 * Faults, by kind of call: 'W' 'M' as above, 'S' a sync, 'A' an mmap of more than a megabyte.
 *   A fault begins at the n-th call and lasts for `times` calls; `error` 0 means a short write; every fault is noted in the log as 'F'.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/uio.h>
#include <unistd.h>

#define META_BYTES (2 * 4096)

static int log_fd = -1;
static struct {
    char kind;
    long first, times, passed;
    int error;
} fault;

static ssize_t (*real_pwrite)(int, const void *, size_t, off_t);
static ssize_t (*real_writev)(int, const struct iovec *, int);
static int (*real_fdatasync)(int);
static int (*real_fsync)(int);
static void *(*real_mmap)(void *, size_t, int, int, int, off_t);

__attribute__((constructor)) static void find_real(void) {
    real_pwrite = dlsym(RTLD_NEXT, "pwrite");
    real_writev = dlsym(RTLD_NEXT, "writev");
    real_fdatasync = dlsym(RTLD_NEXT, "fdatasync");
    real_fsync = dlsym(RTLD_NEXT, "fsync");
    real_mmap = dlsym(RTLD_NEXT, "mmap");
}

void record_to(int fd) { log_fd = fd; }

void fail_at(char kind, long first, long times, int error) {
    fault.first = first;
    fault.times = times;
    fault.error = error;
    fault.passed = 0;
    fault.kind = kind;
}

static int is_data(int fd) {
    char link[64], path[4096];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t length = readlink(link, path, sizeof path - 1);
    if (length < 9) return 0;
    path[length] = 0;
    return !strcmp(path + length - 9, "/data.mdb");
}

static void note(char operation, off_t offset, const struct iovec *parts, int count, size_t total) {
    if (log_fd < 0) return;
    int64_t head[3] = {operation, offset, (int64_t)total};
    struct iovec all[count + 1];
    all[0] = (struct iovec){head, sizeof head};
    for (int i = 0; i < count; i++) all[i + 1] = parts[i];
    if (real_writev(log_fd, all, count + 1) < 0) _exit(99);
}

/* Whether this call fails; errno is set then. */
static int fails(char kind) {
    if (fault.kind != kind) return 0;
    long number = ++fault.passed;
    if (number < fault.first || number >= fault.first + fault.times) return 0;
    note('F', 0, NULL, 0, 0);
    errno = fault.error;
    return 1;
}

static ssize_t put(int fd, const struct iovec *parts, int count, off_t offset) {
    size_t total = 0;
    for (int i = 0; i < count; i++) total += parts[i].iov_len;
    int meta = offset < META_BYTES && total < 4096;
    if (fails(meta ? 'M' : 'W')) {
        if (fault.error) return -1;
        size_t half = parts[0].iov_len / 2; /* a short write */
        ssize_t done = real_pwrite(fd, parts[0].iov_base, half, offset);
        return done;
    }
    note(meta ? 'M' : 'W', offset, parts, count, total);
    ssize_t written = 0;
    for (int i = 0; i < count; i++) {
        ssize_t done = real_pwrite(fd, parts[i].iov_base, parts[i].iov_len, offset + written);
        if (done < 0) return -1;
        written += done;
    }
    if (meta) note('m', 0, NULL, 0, 0);
    return written;
}

ssize_t pwrite(int fd, const void *data, size_t length, off_t offset) {
    if (!is_data(fd)) return real_pwrite(fd, data, length, offset);
    struct iovec part = {(void *)data, length};
    return put(fd, &part, 1, offset);
}

ssize_t pwrite64(int fd, const void *data, size_t length, off_t offset) { return pwrite(fd, data, length, offset); }

ssize_t writev(int fd, const struct iovec *parts, int count) {
    if (!is_data(fd)) return real_writev(fd, parts, count);
    off_t offset = lseek(fd, 0, SEEK_CUR);
    ssize_t written = put(fd, parts, count, offset);
    if (written > 0) lseek(fd, offset + written, SEEK_SET);
    return written;
}

static int sync_with(int (*real)(int), int fd) {
    if (!is_data(fd)) return real(fd);
    if (fails('S')) return -1;
    int result = real(fd);
    if (!result) note('S', 0, NULL, 0, 0);
    return result;
}

int fdatasync(int fd) { return sync_with(real_fdatasync, fd); }

int fsync(int fd) { return sync_with(real_fsync, fd); }

void *mmap(void *address, size_t length, int protection, int flags, int fd, off_t offset) {
    if (fd >= 0 && length > 1 << 20 && is_data(fd) && fails('A')) return MAP_FAILED;
    return real_mmap(address, length, protection, flags, fd, offset);
}

void *mmap64(void *address, size_t length, int protection, int flags, int fd, off_t offset) {
    return mmap(address, length, protection, flags, fd, offset);
}
