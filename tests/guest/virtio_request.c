/* SPDX-License-Identifier: MIT */
/*
 * A guest that does not play by the rules: takes a virtio block device away from the kernel, denies
 * every feature (so also that it is read-only), and sends it one request by a driver of its own.
 * Prints the device's answer. Runs as root in the guest.
 *
 *     virtio_request PCI-ADDRESS write|zeroes SECTOR TEXT
 */
#include <fcntl.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define SECONDS     10
#define PAGE        4096
#define QUEUE       8
#define OUT         1
#define WRITE_ZEROS 13

/* What lies where in the page that the device shares. */
enum { DESC = 0, AVAIL = 256, USED = 512, HEADER = 1024, DATA = 1536, STATUS = 3072 };
/* Fields of the common configuration, and bits of the status in it. */
enum { FEATURE_SELECT = 8, FEATURES = 12, DEVICE_STATUS = 20, QUEUE_SELECT = 22, QUEUE_SIZE = 24 };
enum { QUEUE_ENABLE = 28, NOTIFY_OFF = 30, QUEUE_DESC = 32, QUEUE_AVAIL = 40, QUEUE_USED = 48 };
enum { ACKNOWLEDGE = 1, DRIVER = 2, DRIVER_OK = 4, FEATURES_OK = 8 };
enum { NEXT = 1, DEVICE_WRITES = 2 };

static const char *g_address;
static volatile uint8_t *g_common, *g_notify;
static uint32_t g_notify_step;

static void die(const char *what)
{
    perror(what);
    exit(1);
}

static int open_at(const char *name, int flags)
{
    char path[128];

    snprintf(path, sizeof(path), "/sys/bus/pci/devices/%s/%s", g_address, name);
    int fd = open(path, flags);
    if (fd < 0)
        die(path);
    return fd;
}

static void put16(volatile uint8_t *at, uint16_t n)
{
    *(volatile uint16_t *)at = n;
}

static void put32(volatile uint8_t *at, uint32_t n)
{
    *(volatile uint32_t *)at = n;
}

static void put64(volatile uint8_t *at, uint64_t n)
{
    put32(at, (uint32_t)n);
    put32(at + 4, (uint32_t)(n >> 32));
}

/* ---- the device --------------------------------------------------------------------------- */

static volatile uint8_t *map_bar(int bar)
{
    char name[16];
    struct stat st;

    snprintf(name, sizeof(name), "resource%d", bar);
    int fd = open_at(name, O_RDWR | O_SYNC);
    void *at = fstat(fd, &st) == 0
                   ? mmap(NULL, (size_t)st.st_size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0)
                   : MAP_FAILED;
    if (at == MAP_FAILED)
        die(name);
    close(fd);
    return at;
}

/* Where its registers are is said by capabilities of the vendor's. */
static void find_registers(void)
{
    uint8_t config[256];
    uint32_t offset;
    int fd = open_at("config", O_RDWR);

    if (pread(fd, config, sizeof(config), 0) != (ssize_t)sizeof(config))
        die("config");
    config[4] |= 6; /* memory, and bus master */
    if (pwrite(fd, config + 4, 2, 4) != 2)
        die("config");
    for (int cap = config[0x34]; cap >= 0x40 && cap <= 236; cap = config[cap + 1]) {
        if (config[cap] != 9 || (config[cap + 3] != 1 && config[cap + 3] != 2))
            continue;
        memcpy(&offset, config + cap + 8, 4);
        if (config[cap + 3] == 1) {
            g_common = map_bar(config[cap + 4]) + offset;
        } else {
            g_notify = map_bar(config[cap + 4]) + offset;
            memcpy(&g_notify_step, config + cap + 16, 4);
        }
    }
    close(fd);
    if (!g_common || !g_notify)
        die("no modern virtio device");
}

static uint64_t physical(const void *at)
{
    uint64_t entry = 0;
    int fd = open("/proc/self/pagemap", O_RDONLY);

    if (fd < 0 || pread(fd, &entry, 8, (off_t)((uintptr_t)at / PAGE * 8)) != 8 || !(entry >> 63))
        die("pagemap");
    close(fd);
    return (entry & ((UINT64_C(1) << 55) - 1)) * PAGE;
}

static void set_up(uint64_t page)
{
    g_common[DEVICE_STATUS] = 0;
    g_common[DEVICE_STATUS] = ACKNOWLEDGE | DRIVER;
    put32(g_common + FEATURE_SELECT, 0);
    put32(g_common + FEATURES, 0);
    put32(g_common + FEATURE_SELECT, 1);
    put32(g_common + FEATURES, 1); /* version 1 */
    g_common[DEVICE_STATUS] = ACKNOWLEDGE | DRIVER | FEATURES_OK;
    if (!(g_common[DEVICE_STATUS] & FEATURES_OK))
        die("the device wants other features");
    put16(g_common + QUEUE_SELECT, 0);
    put16(g_common + QUEUE_SIZE, QUEUE);
    put64(g_common + QUEUE_DESC, page + DESC);
    put64(g_common + QUEUE_AVAIL, page + AVAIL);
    put64(g_common + QUEUE_USED, page + USED);
    put16(g_common + QUEUE_ENABLE, 1);
    g_common[DEVICE_STATUS] = ACKNOWLEDGE | DRIVER | FEATURES_OK | DRIVER_OK;
}

/* ---- the request -------------------------------------------------------------------------- */

static void describe(uint8_t *page, int i, uint64_t at, uint32_t len, uint16_t flags)
{
    uint8_t *desc = page + DESC + 16 * i;

    put64(desc, at);
    put32(desc + 8, len);
    put16(desc + 12, flags);
    put16(desc + 14, (uint16_t)(i + 1));
}

static int perform(uint8_t *page, uint64_t at, uint32_t type, uint32_t len)
{
    put32(page + HEADER, type);
    describe(page, 0, at + HEADER, 16, NEXT);
    describe(page, 1, at + DATA, len, NEXT);
    describe(page, 2, at + STATUS, 1, DEVICE_WRITES);
    page[STATUS] = 0xff;
    put16(page + AVAIL + 4, 0);
    __sync_synchronize();
    put16(page + AVAIL + 2, 1);
    __sync_synchronize();
    put16(g_notify + g_notify_step * *(volatile uint16_t *)(g_common + NOTIFY_OFF), 0);
    for (time_t end = time(NULL) + SECONDS; *(volatile uint16_t *)(page + USED + 2) == 0;)
        if (time(NULL) > end)
            die("the device does not answer");
    return page[STATUS];
}

static int request(uint8_t *page, uint64_t at, bool zeroes, uint64_t sector, const char *text)
{
    if (zeroes) {
        put64(page + DATA, sector);
        put32(page + DATA + 8, 1);
        return perform(page, at, WRITE_ZEROS, 16);
    }
    put64(page + HEADER + 8, sector);
    snprintf((char *)page + DATA, 512, "%s", text);
    return perform(page, at, OUT, 512);
}

int main(int argc, char **argv)
{
    if (argc != 5)
        return 2;
    g_address = argv[1];
    uint64_t sector = strtoull(argv[3], NULL, 10);
    int fd = open_at("driver/unbind", O_WRONLY);
    if (write(fd, g_address, strlen(g_address)) < 0)
        die("unbind");
    close(fd);
    find_registers();
    uint8_t *page = mmap(NULL, PAGE, PROT_READ | PROT_WRITE,
                         MAP_PRIVATE | MAP_ANONYMOUS | MAP_LOCKED | MAP_POPULATE, -1, 0);
    if (page == MAP_FAILED)
        die("memory");
    page[0] = 0;
    uint64_t at = physical(page);
    set_up(at);
    int status = request(page, at, strcmp(argv[2], "zeroes") == 0, sector, argv[4]);
    printf("%s\n", status == 0 ? "done" : status == 1 ? "error" : "unsupported");
    g_common[DEVICE_STATUS] = 0;
    fd = open("/sys/bus/pci/drivers/virtio-pci/bind", O_WRONLY);
    return fd < 0 || write(fd, g_address, strlen(g_address)) < 0;
}
