/* SPDX-License-Identifier: MIT */
/* QEMU's command line, whole and word by word; the kernel's command line; addresses. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "backend/qemu/arch.h"
#include "backend/qemu/cmdline.h"
#include "backend/qemu/dev.h"
#include "base/base.h"
#include "base/buf.h"
#include "wire/qemu_argv.h"

static mvm_qemu_spec base_spec(void)
{
    return (mvm_qemu_spec){
        .binary = "/usr/bin/qemu-system-x86_64",
        .name = "web",
        .accel = "tcg",
        .machine = "q35,usb=off",
        .cpu = "max,la57=off",
        .cpus = 2,
        .memory = 536870912,
        .kernel = "/k/vmlinux",
        .initrd = "/k/initrd",
        .cmdline = "console=ttyS0 quiet",
        .sandbox = true,
        .qmp_fd = 3,
        .console_fd = 4,
        .agent_fd = 5,
    };
}

/* One option a line. */
static char *lines_of(const mvm_qemu_spec *spec)
{
    mvm__buf out = {0};
    char **argv = mvm_qemu_argv(spec);

    for (char **word = argv; *word; word++)
        mvm__buf_printf(&out, "%s%s", word == argv ? "" : **word == '-' ? "\n" : " ", *word);
    mvm_qemu_argv_free(argv);
    char *text = mvm__strdup(mvm__buf_str(&out));
    mvm__buf_free(&out);
    return text;
}

static void check(const mvm_qemu_spec *spec, const char *expected)
{
    char *lines = lines_of(spec);

    assert_string_equal(expected, lines);
    mvm__free(lines);
}

static void has(const mvm_qemu_spec *spec, const char *line, bool expected)
{
    char *lines = lines_of(spec);
    const char *at = strstr(lines, line);
    bool whole = at && (at[strlen(line)] == '\n' || at[strlen(line)] == '\0');

    if (whole != expected)
        fail_msg("%s `%s` in:\n%s", expected ? "no" : "a", line, lines);
    mvm__free(lines);
}

#define SANDBOX "-sandbox on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny\n"
#define CHANNELS                                                                                   \
    "-chardev socket,id=qmp,fd=3\n"                                                                \
    "-mon chardev=qmp,mode=control\n"                                                              \
    "-chardev socket,id=console,fd=4\n"                                                            \
    "-serial chardev:console\n"                                                                    \
    "-chardev socket,id=agent,fd=5\n"                                                              \
    "-device virtio-serial-pci,id=ports,max_ports=8,disable-legacy=on\n"                           \
    "-device virtserialport,id=agentport,bus=ports.0,nr=1,chardev=agent,"                          \
    "name=org.macvm.agent.0\n"                                                                     \
    "-device pci-bridge,id=hot,chassis_nr=1,shpc=off\n"                                            \
    "-device pvpanic-pci,bus=hot"

static void test_kernel_on_tcg(void **state)
{
    mvm_qemu_spec spec = base_spec();

    (void)state;
    check(&spec, "/usr/bin/qemu-system-x86_64\n"
                 "-name guest=web,process=macvm-web\n"
                 "-nodefaults\n"
                 "-no-user-config\n"
                 "-display none\n"
                 "-machine q35,usb=off,memory-backend=ram\n"
                 "-accel tcg,tb-size=256\n"
                 "-cpu max,la57=off\n"
                 "-smp 2\n"
                 "-object memory-backend-memfd,id=ram,share=on,size=536870912b\n"
                 "-m 536870912b\n"
                 "-rtc base=utc\n"
                 "-action panic=none\n" SANDBOX "-kernel /k/vmlinux\n"
                 "-initrd /k/initrd\n"
                 "-append console=ttyS0 quiet\n" CHANNELS);
}

static void test_devices_on_kvm_without_sandbox(void **state)
{
    mvm_qemu_spec spec = base_spec();
    mvm_qemu_parts disk = {0}, entropy = {0};
    const mvm_qemu_parts *const devices[] = {&disk, &entropy};

    (void)state;
    mvm_qemu_part_add(&disk, MVM_QEMU_BLOCKDEV, "qcow2", "disk0-image");
    mvm_qemu_key_bool(&disk, "read-only", false);
    mvm_qemu_key_text(&disk, "file.filename", "/d/a,b.qcow2");
    mvm_qemu_part_add(&disk, MVM_QEMU_DEVICE, "virtio-blk-pci", "disk0");
    mvm_qemu_key_int(&disk, "bootindex", 1);
    mvm_qemu_part_add(&entropy, MVM_QEMU_DEVICE, "virtio-rng-pci", "entropy0");
    spec.kernel = spec.initrd = spec.cmdline = NULL;
    spec.efi = "/f/code,1.fd";
    spec.variables = "/f/vars,1.fd";
    spec.accel = "kvm";
    spec.cpu = "host";
    spec.sandbox = false;
    spec.devices = devices;
    spec.ndevices = 2;
    check(&spec, "/usr/bin/qemu-system-x86_64\n"
                 "-name guest=web,process=macvm-web\n"
                 "-nodefaults\n"
                 "-no-user-config\n"
                 "-display none\n"
                 "-machine q35,usb=off,memory-backend=ram,pflash0=efi,pflash1=variables\n"
                 "-accel kvm\n"
                 "-cpu host\n"
                 "-smp 2\n"
                 "-object memory-backend-memfd,id=ram,share=on,size=536870912b\n"
                 "-m 536870912b\n"
                 "-rtc base=utc\n"
                 "-action panic=none\n"
                 "-blockdev driver=raw,node-name=efi,read-only=on,file.driver=file,"
                 "file.locking=auto,file.filename=/f/code,,1.fd\n"
                 "-blockdev driver=raw,node-name=variables,read-only=off,file.driver=file,"
                 "file.locking=auto,file.filename=/f/vars,,1.fd\n"
                 "-boot menu=off,strict=on\n" CHANNELS "\n"
                 "-blockdev driver=qcow2,node-name=disk0-image,read-only=off,"
                 "file.filename=/d/a,,b.qcow2\n"
                 "-device virtio-blk-pci,id=disk0,bootindex=1\n"
                 "-device virtio-rng-pci,id=entropy0");
    mvm_qemu_parts_free(&disk);
    mvm_qemu_parts_free(&entropy);
}

/* A comma must not begin an option of its own. */
static void test_commas(void **state)
{
    mvm_qemu_spec spec = base_spec();

    (void)state;
    spec.name = "a,debug-threads=on";
    spec.kernel = "/k/a,b"; /* these three are no lists of options: QEMU takes them as they are */
    spec.cmdline = "a=1,2";
    has(&spec, "-name guest=a,,debug-threads=on,process=macvm-a,,debug-threads=on", true);
    has(&spec, "-kernel /k/a,b", true);
    has(&spec, "-append a=1,2", true);
}

static void test_kernel_without_initrd(void **state)
{
    mvm_qemu_spec spec = base_spec();

    (void)state;
    spec.initrd = spec.cmdline = NULL;
    has(&spec, "-initrd /k/initrd", false);
    has(&spec, "-append ", true);
}

static void test_rom(void **state)
{
    mvm_qemu_spec spec = base_spec();

    (void)state;
    spec.rom = "/share/qboot.rom";
    has(&spec, "-bios /share/qboot.rom", true);
}

static void test_display(void **state)
{
    mvm_qemu_spec spec = base_spec();

    (void)state;
    has(&spec, "-display none", true);
    has(&spec, "-vnc none", false);
    spec.window = spec.vnc = true;
    has(&spec, "-display gtk,window-close=off", true);
    has(&spec, "-vnc none", true); /* QMP says where */
}

static void test_slots(void **state)
{
    mvm_qemu_spec spec = base_spec();

    (void)state;
    spec.slots = 2;
    has(&spec, "-device pci-bridge,id=hot,chassis_nr=1,shpc=off", false);
    has(&spec, "-device pcie-root-port,id=hot0,chassis=1", true);
    has(&spec, "-device pcie-root-port,id=hot1,chassis=2", true);
    has(&spec, "-device pcie-root-port,id=hot2,chassis=3", false);
    has(&spec, "-device pvpanic-pci", true);
}

/* A file whose first bytes are a kernel's: `text` at `at`. */
static const mvm__arch *arch_of(const char *text, size_t len, size_t at, size_t size)
{
    char path[] = "/tmp/macvm-kernel-XXXXXX", bytes[1024] = "";
    int fd = mkstemp(path);

    assert_true(fd >= 0);
    memcpy(bytes + at, text, len);
    assert_int_equal(size, write(fd, bytes, size));
    close(fd);
    const mvm__arch *arch = mvm__arch_of_kernel(path);
    unlink(path);
    return arch;
}

static void test_architectures_of_kernels(void **state)
{
    char elf[20] = "\177ELF";

    (void)state;
    elf[18] = 62;
    assert_ptr_equal(mvm__arch_named("x86_64"), arch_of(elf, sizeof(elf), 0, 1024));
    elf[18] = (char)183;
    assert_ptr_equal(mvm__arch_named("aarch64"), arch_of(elf, sizeof(elf), 0, 1024));
    elf[18] = 3; /* 32 bits of x86 */
    assert_null(arch_of(elf, sizeof(elf), 0, 1024));
    assert_ptr_equal(mvm__arch_named("x86_64"), arch_of("HdrS", 4, 0x202, 1024));
    assert_ptr_equal(mvm__arch_named("aarch64"), arch_of("ARM\x64", 4, 0x38, 1024));
    assert_null(arch_of("ARM\x64", 4, 0x38, 0x40)); /* too short to be one */
    assert_null(arch_of("", 0, 0, 1024));
    assert_null(mvm__arch_of_kernel("/nonexistent"));
}

static void test_mac(void **state)
{
    char a[18], b[18];

    (void)state;
    mvm__net_mac("web", 0, a);
    assert_string_equal("52:54:00:c3:d8:43", a); /* stable across versions */
    mvm__net_mac("web", 1, b);
    assert_string_not_equal(a, b);
    mvm__net_mac("db", 0, b);
    assert_string_not_equal(a, b);
    assert_memory_equal("52:54:00:", b, 9);
}

static void test_kernel_command_line(void **state)
{
    static const struct {
        mvm__cmdline in;
        const char *line;
    } cases[] = {
        {{.own = true,
          .pc = true,
          .console = "ttyS0",
          .net = "macvm.ip=52:54:00:00:00:01,10.0.2.15/24,10.0.2.2,10.0.2.3",
          .tsc_khz = 2600000,
          .name = "web"},
         "console=ttyS0 quiet panic=0 8250.nr_uarts=1 cryptomgr.notests init_on_alloc=0 "
         "no_timer_check mitigations=off "
         "tsc_early_khz=2600000 macvm.hostname=web "
         "macvm.ip=52:54:00:00:00:01,10.0.2.15/24,10.0.2.2,10.0.2.3"},
        {{.own = true,
          .pc = true,
          .console = "ttyS0",
          .kvm = true,
          .tsc_khz = 2600000,
          .name = "web",
          .user = "loglevel=7 a=b"},
         "console=ttyS0 quiet panic=0 8250.nr_uarts=1 cryptomgr.notests init_on_alloc=0 "
         "macvm.hostname=web loglevel=7 a=b"},
        {{.own = true, .pc = true, .console = "ttyS0", .kvm = true, .name = "web", .user = ""},
         "console=ttyS0 quiet panic=0 8250.nr_uarts=1 cryptomgr.notests init_on_alloc=0 "
         "macvm.hostname=web"},
        {{.console = "ttyS0",
          .name = "web",
          .net = "macvm.ip=52:54:00:00:00:01,10.0.2.15/24,10.0.2.2,10.0.2.3",
          .tsc_khz = 1},
         "macvm.hostname=web macvm.ip=52:54:00:00:00:01,10.0.2.15/24,10.0.2.2,10.0.2.3 "
         "console=ttyS0"},
        {{.console = "ttyS0", .name = "web", .user = "root=/dev/vda1 ro"},
         "macvm.hostname=web root=/dev/vda1 ro console=ttyS0"},
        {{.console = "ttyS0", .name = "web", .user = "netconsole=x"},
         "macvm.hostname=web netconsole=x console=ttyS0"},
        {{.console = "ttyS0", .name = "web", .user = "ro console=tty0"},
         "macvm.hostname=web ro console=tty0"},
        {{.console = "ttyS0", .name = "web", .user = "console=hvc0 ro"},
         "macvm.hostname=web console=hvc0 ro"},
        {{.own = true, .console = "ttyAMA0", .name = "web"},
         "console=ttyAMA0 quiet panic=0 cryptomgr.notests init_on_alloc=0 mitigations=off "
         "macvm.hostname=web"},
        {{.console = "ttyAMA0", .name = "web"}, "macvm.hostname=web console=ttyAMA0"},
    };

    (void)state;
    for (size_t i = 0; i < MVM_COUNT(cases); i++) {
        char *line = mvm__cmdline_build(&cases[i].in);
        assert_string_equal(cases[i].line, line);
        mvm__free(line);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_kernel_on_tcg), cmocka_unit_test(test_devices_on_kvm_without_sandbox),
        cmocka_unit_test(test_commas),        cmocka_unit_test(test_kernel_without_initrd),
        cmocka_unit_test(test_rom),           cmocka_unit_test(test_display),
        cmocka_unit_test(test_slots),         cmocka_unit_test(test_architectures_of_kernels),
        cmocka_unit_test(test_mac),           cmocka_unit_test(test_kernel_command_line),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
