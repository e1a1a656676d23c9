// Preloaded into a server: shifts its wall clock and fails an allocation, as the words of the file in FAULTS_WORDS say.

#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

// In this order in the file, each of eight bytes. `stage.rs` and `shim.rs` know them by their numbers.
struct words {
    _Atomic int64_t clock_offset; // Seconds.
    _Atomic int64_t least_size;   // Allocations of fewer bytes are not counted.
    _Atomic int64_t fail_at;      // The number of the one that fails; 0: none.
    _Atomic int64_t n_counted;
    _Atomic int64_t failed_size;
};

static struct words none;
static struct words *_Atomic words = &none;

__attribute__((constructor)) static void start(void) {
    const char *path = getenv("FAULTS_WORDS");
    int file = path ? open(path, O_RDWR | O_CLOEXEC) : -1;
    if (file < 0)
        return;
    void *map = (void *)syscall(SYS_mmap, NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
    if (map != MAP_FAILED)
        words = map;
    close(file);
}

static int fails(size_t size) {
    struct words *w = words;
    if (w->fail_at == 0 || (int64_t)size < w->least_size)
        return 0;
    if (++w->n_counted != w->fail_at)
        return 0;
    w->failed_size = (int64_t)size;
    errno = ENOMEM;
    return 1;
}

void *__libc_malloc(size_t);
void *__libc_calloc(size_t, size_t);
void *__libc_realloc(void *, size_t);
void *__libc_memalign(size_t, size_t);

void *malloc(size_t size) { return fails(size) ? NULL : __libc_malloc(size); }

void *calloc(size_t n, size_t size) { return fails(n * size) ? NULL : __libc_calloc(n, size); }

void *realloc(void *old, size_t size) { return fails(size) ? NULL : __libc_realloc(old, size); }

void *memalign(size_t align, size_t size) { return fails(size) ? NULL : __libc_memalign(align, size); }

void *aligned_alloc(size_t align, size_t size) { return memalign(align, size); }

int posix_memalign(void **out, size_t align, size_t size) {
    void *found = memalign(align, size);
    if (found == NULL)
        return ENOMEM;
    *out = found;
    return 0;
}

void *mmap(void *at, size_t size, int protection, int flags, int file, off_t offset) {
    if ((flags & MAP_ANONYMOUS) && fails(size))
        return MAP_FAILED;
    return (void *)syscall(SYS_mmap, at, size, protection, flags, file, offset);
}

void *mmap64(void *at, size_t size, int protection, int flags, int file, off_t offset) {
    return mmap(at, size, protection, flags, file, offset);
}

int clock_gettime(clockid_t clock, struct timespec *now) {
    static int (*_Atomic real)(clockid_t, struct timespec *);
    if (real == NULL)
        real = (int (*)(clockid_t, struct timespec *))dlsym(RTLD_NEXT, "clock_gettime");
    int error = real(clock, now);
    if (error == 0 && (clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE))
        now->tv_sec += words->clock_offset;
    return error;
}

int gettimeofday(struct timeval *now, void *zone) {
    struct timespec time;
    (void)zone;
    if (clock_gettime(CLOCK_REALTIME, &time) != 0)
        return -1;
    *now = (struct timeval){time.tv_sec, time.tv_nsec / 1000};
    return 0;
}

time_t time(time_t *out) {
    struct timespec now;
    if (clock_gettime(CLOCK_REALTIME, &now) != 0)
        return -1;
    if (out)
        *out = now.tv_sec;
    return now.tv_sec;
}
