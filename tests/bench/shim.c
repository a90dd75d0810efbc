/* Makes every sync take two milliseconds, as on a disk that keeps its word, and counts them.
   The counters are in the file that SYNC_SHIM_COUNTS names: syncs of files, of directories, of data alone. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>

enum { FILES, DIRECTORIES, DATA, KINDS };

static unsigned long *counts;

__attribute__((constructor)) static void open_counts(void) {
    const char *path = getenv("SYNC_SHIM_COUNTS");
    int descriptor = path ? open(path, O_RDWR | O_CLOEXEC) : -1;
    if (descriptor < 0)
        return;
    void *memory = mmap(NULL, KINDS * sizeof *counts, PROT_READ | PROT_WRITE, MAP_SHARED, descriptor, 0);
    if (memory != MAP_FAILED)
        counts = memory;
}

static int slowly(int kind, const char *name, int descriptor) {
    int (*real)(int) = (int (*)(int))dlsym(RTLD_NEXT, name);
    struct timespec pause = {0, 2000000};
    nanosleep(&pause, NULL);
    if (counts)
        __atomic_add_fetch(&counts[kind], 1, __ATOMIC_RELAXED);
    return real(descriptor);
}

int fsync(int descriptor) {
    struct stat about;
    int is_directory = fstat(descriptor, &about) == 0 && S_ISDIR(about.st_mode);
    return slowly(is_directory ? DIRECTORIES : FILES, "fsync", descriptor);
}

int fdatasync(int descriptor) { return slowly(DATA, "fdatasync", descriptor); }
