/* SPDX-License-Identifier: MIT */
/* Images as files: headers that lie, growing, and who uses one. */
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "backend/qemu/disk.h"
#include "base/base.h"
#include "io/proc.h"
#include "vm/image.h"
#include "wire/qcow2.h"

#define GiB (INT64_C(1) << 30)

typedef struct place {
    char dir[32], path[64];
} place;

static int setup(void **state)
{
    place *p = mvm__alloc(sizeof(*p));

    snprintf(p->dir, sizeof(p->dir), "/tmp/macvm-test-XXXXXX");
    *state = p;
    if (!mkdtemp(p->dir))
        return -1;
    snprintf(p->path, sizeof(p->path), "%s/disk", p->dir);
    return 0;
}

static int teardown(void **state)
{
    place *p = *state;

    unlink(p->path);
    int rc = rmdir(p->dir);
    mvm__free(p);
    return rc;
}

/* The image that macvm makes, with one byte of its header changed. */
static int size_with(place *p, int at, uint8_t byte, int64_t *size, mvm_err *err)
{
    unlink(p->path);
    assert_int_equal(0, mvm__disk_create(p->path, "qcow2", GiB, err));
    MVM_AUTO_FD int fd = open(p->path, O_WRONLY);
    assert_int_equal(1, pwrite(fd, &byte, 1, at));
    return mvm__image_size(p->path, "qcow2", size, err);
}

static void test_headers(void **state)
{
    static const struct {
        int at;
        uint8_t byte;
        const char *words; /* NULL: it is sound */
    } cases[] = {
        {0, 'Q', NULL},
        {0, 'q', "is not in qcow2 format"},
        {7, 9, "version"},
        {7, 2, NULL},
        {23, 8, "impossible size of clusters"},
        {23, 22, "impossible size of clusters"},
        {24, 0x80, "impossible size"},
        {28, 0xff, "impossible size"},
        {36, 0x7f, "impossible size"},
        {40, 0xff, "impossible table"},
        {47, 1, "impossible table"},
        {14, 1, "laid over another image"},
        {35, 1, "encrypted"},
        {79, 4, "another file"},
    };
    place *p = *state;
    mvm_err err;

    for (size_t i = 0; i < MVM_COUNT(cases); i++) {
        int64_t size = 0;
        int rc = size_with(p, cases[i].at, cases[i].byte, &size, &err);
        if (!cases[i].words) {
            assert_int_equal(0, rc);
            assert_int_equal(GiB, size);
            continue;
        }
        assert_int_equal(MVM_ECONFIG, rc);
        assert_non_null(strstr(err.message, cases[i].words));
        assert_non_null(strstr(err.message, p->path));
    }
    assert_int_equal(0, truncate(p->path, 3));
    assert_int_equal(MVM_ECONFIG, mvm__image_size(p->path, "qcow2", &(int64_t){0}, &err));
    assert_int_equal(MVM_EIO, mvm__image_size("/no/such/image", "raw", &(int64_t){0}, &err));
}

/* No header, whatever is in it, makes the reader or the grower do what has no bounds. */
static void test_any_header(void **state)
{
    uint8_t head[MVM_QCOW2_HEADER], resized[16];
    uint64_t seed = 1;
    mvm_qcow2 image;
    int sound = 0;

    (void)state;
    for (int round = 0; round < 200000; round++) {
        memset(head, 0, sizeof(head));
        memcpy(head, "QFI\xfb\0\0\0\3", 8);
        head[23] = 9 + (uint8_t)(round % 13);
        for (int i = 0; i < 6; i++) {
            seed = seed * UINT64_C(6364136223846793005) + 1442695040888963407u;
            head[24 + (seed >> 33) % 80] = (uint8_t)(seed >> 56);
        }
        if (mvm_qcow2_parse(head, &image) != NULL)
            continue;
        sound++;
        int64_t room = mvm_qcow2_room(&image);
        assert_true(image.size >= 0 && room >= 0);
        assert_true(mvm_qcow2_resized(&image, room, resized) <= (32u << 20) / 8);
    }
    assert_true(sound > 1000);
}

/* Neither is waited for nor taken. */
static void test_no_file(void **state)
{
    place *p = *state;
    mvm_err err;

    assert_int_equal(0, mkfifo(p->path, 0600));
    assert_int_equal(MVM_ECONFIG, mvm__image_size(p->path, "raw", &(int64_t){0}, &err));
    assert_int_equal(MVM_ECONFIG, mvm__image_size(p->path, "qcow2", &(int64_t){0}, &err));
    assert_int_equal(MVM_ECONFIG, mvm__image_size(p->dir, "raw", &(int64_t){0}, &err));
    assert_int_equal(MVM_ECONFIG, mvm__image_grow(p->path, "raw", GiB, &err));
    assert_non_null(strstr(err.message, "is not a regular file"));
}

/* qcow2 would count the last block, which the image fills in part, as none. */
static void test_overlay_of_an_odd_size(void **state)
{
    place *p = *state;
    mvm__overlay overlay;
    int64_t size = 0;
    mvm_err err;

    assert_int_equal(0, mvm__overlay_make(p->dir, 1000, &overlay, &err));
    assert_int_equal(0, mvm__image_size(overlay.path, "qcow2", &size, &err));
    assert_int_equal(1024, size);
    mvm__overlay_free(&overlay);
}

static void test_grow_raw(void **state)
{
    place *p = *state;
    int64_t size = 0;
    mvm_err err;

    assert_int_equal(0, mvm__disk_create(p->path, "raw", 1 << 20, &err));
    assert_int_equal(0, mvm__image_grow(p->path, "raw", GiB, &err));
    assert_int_equal(0, mvm__image_grow(p->path, "raw", 1 << 20, &err));
    assert_int_equal(0, mvm__image_size(p->path, "raw", &size, &err));
    assert_int_equal(GiB, size);
}

static void run(const char *const *argv, const char *expected)
{
    char out[4096];
    int status = -1;
    mvm_err err;

    assert_int_equal(0, mvm__proc_output(argv, 20, out, sizeof(out), &status, &err));
    assert_int_equal(0, status);
    if (expected)
        assert_non_null(strstr(out, expected));
}

/* Images of ours and of qemu-img, which is the judge of what came out. */
static void test_grow_qcow2(void **state)
{
    static const char *const options[] = {NULL, "cluster_size=64k", "cluster_size=64k,compat=0.10",
                                          "cluster_size=2M", "extended_l2=on,cluster_size=128k"};
    place *p = *state;
    char tool[256], io[256], size[32], expected[64];
    mvm_err err;

    if (!mvm__proc_which("qemu-img", tool, sizeof(tool)) ||
        !mvm__proc_which("qemu-io", io, sizeof(io)))
        skip();
    for (size_t i = 0; i < MVM_COUNT(options); i++) {
        unlink(p->path);
        snprintf(size, sizeof(size), "%lld", (long long)GiB);
        if (options[i])
            run((const char *const[]){tool, "create", "-q", "-f", "qcow2", "-o", options[i],
                                      p->path, size, NULL},
                NULL);
        else
            assert_int_equal(0, mvm__disk_create(p->path, "qcow2", GiB, &err));
        run((const char *const[]){io, "-f", "qcow2", "-c", "write -P 7 1023M 1M", p->path, NULL},
            NULL);
        assert_int_equal(0, mvm__image_grow(p->path, "qcow2", 700 * GiB, &err));
        run((const char *const[]){io, "-f", "qcow2", "-c", "read -P 7 1023M 1M", "-c",
                                  "read -P 0 1G 4k", "-c", "write -P 9 716799M 1M", "-c",
                                  "read -P 9 716799M 1M", p->path, NULL},
            "1 MiB");
        run((const char *const[]){tool, "check", "-q", "-f", "qcow2", p->path, NULL}, NULL);
        snprintf(expected, sizeof(expected), "\"virtual-size\": %lld,", (long long)(700 * GiB));
        run((const char *const[]){tool, "info", "--output=json", "-f", "qcow2", p->path, NULL},
            expected);
    }
}

/* What needs more than a larger number in the header is left to QEMU, and untouched. */
static void test_grow_too_far(void **state)
{
    place *p = *state;
    int64_t size = 0;
    mvm_err err;

    assert_int_equal(0, mvm__disk_create(p->path, "qcow2", GiB, &err));
    assert_int_equal(MVM_EUNSUPPORTED, mvm__image_grow(p->path, "qcow2", 5000 * GiB, &err));
    assert_int_equal(0, mvm__image_size(p->path, "qcow2", &size, &err));
    assert_int_equal(GiB, size);
    assert_int_equal(0, size_with(p, 63, 1, &size, &err)); /* a snapshot */
    assert_int_equal(MVM_EUNSUPPORTED, mvm__image_grow(p->path, "qcow2", 2 * GiB, &err));
}

/* A process of its own that holds one byte of the image, as QEMU does; killed in the end. */
static pid_t holder(const char *path, int byte)
{
    int ready[2];
    char c;

    assert_int_equal(0, pipe(ready));
    pid_t pid = fork();
    if (pid == 0) {
        struct flock lock = {.l_type = F_RDLCK, .l_whence = SEEK_SET, .l_start = byte, .l_len = 1};
        int fd = open(path, O_RDWR);
        alarm(20); /* also when the test fails */
        if (fcntl(fd, F_OFD_SETLK, &lock) != 0 || write(ready[1], "", 1) != 1)
            _exit(1);
        pause();
        _exit(0);
    }
    assert_int_equal(1, read(ready[0], &c, 1));
    close(ready[0]);
    close(ready[1]);
    return pid;
}

static void end(pid_t pid)
{
    kill(pid, SIGKILL);
    assert_int_equal(pid, waitpid(pid, NULL, 0));
}

static void test_who_uses_it(void **state)
{
    static const struct {
        int byte;
        bool reader_free, writer_free;
    } cases[] = {
        {100, true, true},   /* reads, and bears others */
        {101, false, false}, /* writes */
        {200, false, true},  /* bears no reader */
        {201, true, false},  /* bears no writer */
    };
    place *p = *state;
    char expected[64];
    mvm_err err;

    assert_int_equal(0, mvm__image_free("/no/such/image", true, &err));
    assert_int_equal(0, mvm__disk_create(p->path, "raw", 1 << 20, &err));
    assert_int_equal(0, mvm__image_free(p->path, true, &err));
    for (size_t i = 0; i < MVM_COUNT(cases); i++) {
        pid_t pid = holder(p->path, cases[i].byte);
        snprintf(expected, sizeof(expected), "in use by process %ld (", (long)pid);
        for (int write = 0; write < 2; write++) {
            bool is_free = write ? cases[i].writer_free : cases[i].reader_free;
            assert_int_equal(is_free ? 0 : MVM_ECONFIG, mvm__image_free(p->path, write, &err));
            if (!is_free)
                assert_non_null(strstr(err.message, expected));
        }
        assert_int_equal(MVM_ECONFIG, mvm__image_grow(p->path, "raw", 2 << 20, &err));
        end(pid);
        assert_int_equal(0, mvm__image_free(p->path, true, &err));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_headers, setup, teardown),
        cmocka_unit_test(test_any_header),
        cmocka_unit_test_setup_teardown(test_no_file, setup, teardown),
        cmocka_unit_test_setup_teardown(test_overlay_of_an_odd_size, setup, teardown),
        cmocka_unit_test_setup_teardown(test_grow_raw, setup, teardown),
        cmocka_unit_test_setup_teardown(test_grow_qcow2, setup, teardown),
        cmocka_unit_test_setup_teardown(test_grow_too_far, setup, teardown),
        cmocka_unit_test_setup_teardown(test_who_uses_it, setup, teardown),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
