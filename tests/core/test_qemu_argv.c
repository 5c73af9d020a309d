/* SPDX-License-Identifier: MIT */
/* QEMU's command line, whole and word by word; the kernel's command line; addresses. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "backend/qemu/cmdline.h"
#include "base/base.h"
#include "base/buf.h"
#include "wire/qemu_argv.h"

static mvm_qemu_spec base_spec(void)
{
    return (mvm_qemu_spec){
        .binary = "/usr/bin/qemu-system-x86_64",
        .name = "web",
        .accel = "tcg",
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
    "-device virtio-serial-pci,id=ports,max_ports=4,disable-legacy=on\n"                           \
    "-device virtserialport,bus=ports.0,nr=1,chardev=agent,name=org.macvm.agent.0\n"               \
    "-device pvpanic-pci"

static void test_kernel_on_tcg(void **state)
{
    mvm_qemu_spec spec = base_spec();

    (void)state;
    check(&spec, "/usr/bin/qemu-system-x86_64\n"
                 "-name guest=web,process=macvm-web\n"
                 "-nodefaults\n"
                 "-no-user-config\n"
                 "-display none\n"
                 "-machine q35,usb=off,sata=off,smbus=off,vmport=off\n"
                 "-accel tcg,tb-size=256\n"
                 "-cpu max,la57=off,erms=off\n"
                 "-smp 2\n"
                 "-m 536870912b\n"
                 "-rtc base=utc\n"
                 "-action panic=none\n" SANDBOX "-kernel /k/vmlinux\n"
                 "-initrd /k/initrd\n"
                 "-append console=ttyS0 quiet\n" CHANNELS);
}

static void test_disk_on_kvm_without_sandbox(void **state)
{
    mvm_qemu_spec spec = base_spec();
    const mvm_qemu_disk disks[] = {
        {"/d/a,b.qcow2", "qcow2", "root", false},
        {"/d/data.img", "raw", "disk2", true},
    };

    (void)state;
    spec.kernel = spec.initrd = spec.cmdline = NULL;
    spec.accel = "kvm";
    spec.sandbox = false;
    spec.disks = disks;
    spec.ndisks = 2;
    check(&spec, "/usr/bin/qemu-system-x86_64\n"
                 "-name guest=web,process=macvm-web\n"
                 "-nodefaults\n"
                 "-no-user-config\n"
                 "-display none\n"
                 "-machine q35,usb=off,sata=off,smbus=off,vmport=off,graphics=off\n"
                 "-accel kvm\n"
                 "-cpu host\n"
                 "-smp 2\n"
                 "-m 536870912b\n"
                 "-rtc base=utc\n"
                 "-action panic=none\n"
                 "-boot menu=off,strict=on\n" CHANNELS "\n"
                 "-blockdev driver=qcow2,node-name=disk0,read-only=off,discard=unmap,"
                 "file.driver=file,file.locking=auto,file.filename=/d/a,,b.qcow2\n"
                 "-device virtio-blk-pci,id=blk0,drive=disk0,serial=root,disable-legacy=on,"
                 "werror=report,rerror=report,bootindex=1\n"
                 "-blockdev driver=raw,node-name=disk1,read-only=on,discard=unmap,"
                 "file.driver=file,file.locking=auto,file.filename=/d/data.img\n"
                 "-device virtio-blk-pci,id=blk1,drive=disk1,serial=disk2,disable-legacy=on,"
                 "werror=report,rerror=report");
}

static void test_network(void **state)
{
    mvm_qemu_spec spec = base_spec();
    const mvm_qemu_forward forwards[] = {
        {"127.0.0.1:8080", 80},
        {"udp:127.0.0.1:5353", 53},
        {"tcp:0.0.0.0:2222", 22},
    };
    const mvm_qemu_net nets[] = {
        {"52:54:00:12:34:56", forwards, 3},
        {"52:54:00:12:34:57", NULL, 0},
    };

    (void)state;
    spec.nets = nets;
    spec.nnets = 2;
    has(&spec,
        "-netdev user,id=net0,hostname=web,hostfwd=tcp:127.0.0.1:8080-:80,"
        "hostfwd=udp:127.0.0.1:5353-:53,hostfwd=tcp:0.0.0.0:2222-:22",
        true);
    has(&spec,
        "-device virtio-net-pci,id=nic0,netdev=net0,mac=52:54:00:12:34:56,disable-legacy=on,"
        "romfile=",
        true);
    has(&spec, "-netdev user,id=net1,hostname=web", true);
    has(&spec,
        "-device virtio-net-pci,id=nic1,netdev=net1,mac=52:54:00:12:34:57,disable-legacy=on,"
        "romfile=",
        true);
}

static void test_entropy(void **state)
{
    mvm_qemu_spec spec = base_spec();

    (void)state;
    has(&spec, "-object rng-builtin,id=entropy", false);
    spec.entropy = true;
    has(&spec, "-object rng-builtin,id=entropy", true);
    has(&spec, "-device virtio-rng-pci,id=rng,rng=entropy,disable-legacy=on", true);
}

/* A comma must not begin an option of its own. */
static void test_commas(void **state)
{
    mvm_qemu_spec spec = base_spec();
    const mvm_qemu_disk disk = {",,x,read-only=on", "raw", "a,b", false};
    const mvm_qemu_forward forward = {"127.0.0.1:1,guestfwd=x", 1};
    const mvm_qemu_net net = {"52:54:00:00:00:01", &forward, 1};

    (void)state;
    spec.name = "a,debug-threads=on";
    spec.kernel = "/k/a,b"; /* these three are no lists of options: QEMU takes them as they are */
    spec.cmdline = "a=1,2";
    spec.disks = &disk;
    spec.ndisks = 1;
    spec.nets = &net;
    spec.nnets = 1;
    has(&spec, "-name guest=a,,debug-threads=on,process=macvm-a,,debug-threads=on", true);
    has(&spec, "-kernel /k/a,b", true);
    has(&spec, "-append a=1,2", true);
    has(&spec,
        "-blockdev driver=raw,node-name=disk0,read-only=off,discard=unmap,"
        "file.driver=file,file.locking=auto,file.filename=,,,,x,,read-only=on",
        true);
    has(&spec,
        "-device virtio-blk-pci,id=blk0,drive=disk0,serial=a,,b,disable-legacy=on,"
        "werror=report,rerror=report",
        true);
    has(&spec,
        "-netdev user,id=net0,hostname=a,,debug-threads=on,"
        "hostfwd=tcp:127.0.0.1:1,,guestfwd=x-:1",
        true);
}

static void test_kernel_without_initrd(void **state)
{
    mvm_qemu_spec spec = base_spec();

    (void)state;
    spec.initrd = spec.cmdline = NULL;
    has(&spec, "-initrd /k/initrd", false);
    has(&spec, "-append ", true);
}

static void test_firmware(void **state)
{
    mvm_qemu_spec spec = base_spec();

    (void)state;
    spec.firmware = "/share/qboot.rom";
    has(&spec, "-bios /share/qboot.rom", true);
}

static void test_mac(void **state)
{
    char a[18], b[18];

    (void)state;
    mvm_qemu_mac("web", 0, a);
    assert_string_equal("52:54:00:c3:d8:43", a); /* stable across versions */
    mvm_qemu_mac("web", 1, b);
    assert_string_not_equal(a, b);
    mvm_qemu_mac("db", 0, b);
    assert_string_not_equal(a, b);
    assert_memory_equal("52:54:00:", b, 9);
}

static void test_kernel_command_line(void **state)
{
    static const struct {
        mvm__cmdline in;
        const char *line;
    } cases[] = {
        {{.own = true, .nat = true, .tsc_khz = 2600000, .name = "web"},
         "console=ttyS0 quiet panic=0 8250.nr_uarts=1 cryptomgr.notests init_on_alloc=0 "
         "no_timer_check mitigations=off "
         "tsc_early_khz=2600000 macvm.hostname=web macvm.ip=10.0.2.15/24,10.0.2.2,10.0.2.3"},
        {{.own = true, .kvm = true, .tsc_khz = 2600000, .name = "web", .user = "loglevel=7 a=b"},
         "console=ttyS0 quiet panic=0 8250.nr_uarts=1 cryptomgr.notests init_on_alloc=0 "
         "macvm.hostname=web loglevel=7 a=b"},
        {{.own = true, .kvm = true, .name = "web", .user = ""},
         "console=ttyS0 quiet panic=0 8250.nr_uarts=1 cryptomgr.notests init_on_alloc=0 "
         "macvm.hostname=web"},
        {{.name = "web", .nat = true, .tsc_khz = 1},
         "macvm.hostname=web macvm.ip=10.0.2.15/24,10.0.2.2,10.0.2.3 console=ttyS0"},
        {{.name = "web", .user = "root=/dev/vda1 ro"},
         "macvm.hostname=web root=/dev/vda1 ro console=ttyS0"},
        {{.name = "web", .user = "netconsole=x"}, "macvm.hostname=web netconsole=x console=ttyS0"},
        {{.name = "web", .user = "ro console=tty0"}, "macvm.hostname=web ro console=tty0"},
        {{.name = "web", .user = "console=hvc0 ro"}, "macvm.hostname=web console=hvc0 ro"},
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
        cmocka_unit_test(test_kernel_on_tcg),
        cmocka_unit_test(test_disk_on_kvm_without_sandbox),
        cmocka_unit_test(test_network),
        cmocka_unit_test(test_entropy),
        cmocka_unit_test(test_commas),
        cmocka_unit_test(test_kernel_without_initrd),
        cmocka_unit_test(test_firmware),
        cmocka_unit_test(test_mac),
        cmocka_unit_test(test_kernel_command_line),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
