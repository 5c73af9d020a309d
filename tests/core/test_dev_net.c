/* SPDX-License-Identifier: MIT */
/* Network devices: what QEMU and the guest's kernel are told, ports that are taken, and the text in
 * which QEMU tells of those that it picked. */
#include <arpa/inet.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "backend/qemu/net.h"
#include "support/dev_scene.h"

static mvm_record *make_record(const char *key, int64_t port)
{
    mvm_record *net = mvm_record_new(mvm_schema_find("net"));
    mvm_value v = {.type = MVM_T_INT, .as.integer = port};

    if (key)
        assert_int_equal(0, mvm_record_set_entry(net, "forward", key, &v, NULL));
    return net;
}

/* Takes the record. */
static mvm__dev *make(scene *s, mvm_record *net)
{
    mvm__dev *dev = mvm__dev_new(&s->run, net, false);

    assert_int_equal(0, mvm__dev_prepare(dev, NULL));
    mvm_record_unref(net);
    return dev;
}

static void check_option(const mvm__dev *dev, size_t i, const char *option, const char *value)
{
    char *text = NULL;

    assert_string_equal(option, mvm_qemu_part_option(&dev->parts.items[i], &text));
    assert_string_equal(value, text);
    mvm__free(text);
}

static void test_nat(void **state)
{
    scene *s = *state;
    mvm_record *net = make_record("udp:127.0.0.1:5353", 53);
    mvm_value port = {.type = MVM_T_INT, .as.integer = 80};

    assert_int_equal(0, mvm_record_set_entry(net, "forward", "127.0.0.1:0", &port, NULL));
    port.as.integer = 443;
    assert_int_equal(0, mvm_record_set_entry(net, "forward", "127.0.0.1:0", &port, NULL));
    assert_int_equal(0, mvm_record_set_entry(net, "forward", "127.0.0.1:0", &port, NULL));
    const mvm__dev *first = make(s, net);
    const mvm__dev *second = make(s, make_record(NULL, 0));
    assert_int_equal(2, first->parts.n);
    check_option(first, 0, "-netdev",
                 "user,id=net0-link,hostname=web,hostfwd=udp:127.0.0.1:5353-:53,"
                 "hostfwd=tcp:127.0.0.1:0-:80,hostfwd=tcp:127.0.0.1:0-:443");
    check_option(second, 0, "-netdev", "user,id=net1-link,hostname=web,net=10.0.3.0/24");
    check_option(second, 1, "-device",
                 "virtio-net-pci,id=net1,disable-legacy=on,bus=hot,netdev=net1-link,"
                 "mac=52:54:00:c3:d6:b0,romfile=");
}

static void test_words_and_addresses(void **state)
{
    scene *s = *state;
    char first_mac[18], second_mac[18], expected[256];
    mvm__dev *first = make(s, make_record(NULL, 0));
    const mvm__net *net = make(s, make_record(NULL, 0))->data;

    memcpy(first_mac, ((mvm__net *)first->data)->mac, 18);
    memcpy(second_mac, net->mac, 18);
    assert_string_not_equal(first_mac, second_mac);
    char *words = mvm__net_words(&s->run);
    snprintf(expected, sizeof(expected),
             "macvm.ip=%s,10.0.2.15/24,10.0.2.2,10.0.2.3 macvm.ip=%s,10.0.3.15/24", first_mac,
             second_mac);
    assert_string_equal(expected, words);
    mvm__free(words);
    /* The next gets what one that has gone had, and never what one that is there has. */
    mvm__dev_free(first);
    const mvm__net *third = make(s, make_record(NULL, 0))->data;
    assert_int_equal(2, third->subnet);
    assert_string_equal(first_mac, third->mac);
}

static void test_bridged(void **state)
{
    scene *s = *state;
    mvm__dev *dev = make(s, make_record(NULL, 0));
    mvm__net *net = dev->data;
    int pair[2];

    net->subnet = 0; /* as if it were bridged */
    assert_int_equal(0, pipe(pair));
    mvm__dev_give_fd(dev, pair[0], net->fd_name);
    assert_string_equal("6", net->fd_name);
    assert_int_equal(1, s->run.nfds);
    mvm_qemu_parts_free(&dev->parts);
    dev->ops->parts(dev, &dev->parts);
    check_option(dev, 0, "-netdev", "tap,id=net0-link,fd=6");
    char *words = mvm__net_words(&s->run);
    assert_string_equal("", words);
    mvm__free(words);
    dev->hot = true;
    mvm__dev_give_fd(dev, pair[1], net->fd_name); /* the device's, which closes it */
    assert_string_equal("net0", net->fd_name);
    close(pair[0]);
}

/* ---- ports ----------------------------------------------------------------------------- */

static void test_picked_ports(void **state)
{
    static const char text[] =
        "Hub -1 (net0-link):\r\n"
        "  Protocol[State]    FD  Source Address  Port   Dest. Address  Port RecvQ SendQ\r\n"
        "  TCP[HOST_FORWARD]   9       127.0.0.1 45160       10.0.2.15   443     0     0\r\n"
        "  TCP[ESTABLISHED]   10       127.0.0.1   999       10.0.2.15    80     0     0\r\n"
        "  TCP[HOST_FORWARD]   8       127.0.0.1 45159       10.0.2.15    80     0     0\r\n"
        "  UDP[HOST_FORWARD]   3               * 42937       10.0.2.15    53     0     0\r\n"
        "Hub -1 (net1-link):\r\n"
        "  TCP[HOST_FORWARD]   9       127.0.0.1 33797       10.0.3.15    80     0     0\r\n";
    mvm__net_forward list[] = {
        {false, "127.0.0.1", 0, 80},
        {true, "0.0.0.0", 0, 53},
        {false, "127.0.0.1", 8080, 80},
        {false, "127.0.0.1", 0, 443},
    };
    mvm__net_forward other = {false, "127.0.0.1", 0, 80};

    (void)state;
    assert_true(mvm__net_forward_picked(text, "net0-link", list, 4));
    assert_int_equal(45159, list[0].port);
    assert_int_equal(42937, list[1].port);
    assert_int_equal(8080, list[2].port);
    assert_int_equal(45160, list[3].port);
    assert_true(mvm__net_forward_picked(text, "net1-link", &other, 1));
    assert_int_equal(33797, other.port);
}

static void test_text_that_lies(void **state)
{
    static const char *const texts[] = {
        "",
        "\r\n\r\n",
        "(net0-link):",
        "x (net0-link):\n  TCP[HOST_FORWARD]\n",
        "x (net0-link):\n  TCP[HOST_FORWARD] 8 127.0.0.1 99999 10.0.2.15 80\n",
        "x (net0-link):\n  TCP[HOST_FORWARD] 8 127.0.0.1 -1 10.0.2.15 80\n",
        "x (net0-link):\n  TCPTCPTCP[HOST_FORWARD] 8 127.0.0.1 80 10.0.2.15 80\n",
        "x (net0-link):\n  TCP[HOST_FORWARDHOST_FORWARDHOST_FORWARD] 8 127.0.0.1 80 x 80\n",
        "x (net0-link):\n  TCP[HOST_FORWARD] 8 127.0.0.1127.0.0.1127.0.0.1 80 10.0.2.15 80\n",
        "x (net1-link):\n  TCP[HOST_FORWARD] 8 127.0.0.1 80 10.0.2.15 80\n",
    };

    (void)state;
    for (size_t i = 0; i < MVM_COUNT(texts); i++) {
        mvm__net_forward f = {false, "127.0.0.1", 0, 80};
        assert_false(mvm__net_forward_picked(texts[i], "net0-link", &f, 1));
        assert_int_equal(0, f.port);
    }
}

static void check_taken(const scene *s, int type, const char *key_format)
{
    struct sockaddr_in addr = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof(addr);
    char key[48], who[64];
    mvm_err err;
    int fd = socket(AF_INET, type | SOCK_CLOEXEC, 0);

    assert_int_equal(0, bind(fd, (struct sockaddr *)&addr, sizeof(addr)));
    if (type == SOCK_STREAM)
        assert_int_equal(0, listen(fd, 1));
    assert_int_equal(0, getsockname(fd, (struct sockaddr *)&addr, &len));
    snprintf(key, sizeof(key), key_format, ntohs(addr.sin_port));
    mvm_record *net = make_record(key, 80);
    assert_int_equal(MVM_ECONFIG, mvm__net_forward_check(s->vm, net, "devices[1]", &err));
    snprintf(who, sizeof(who), "is in use by process %d (", (int)getpid());
    assert_non_null(strstr(err.message, who));
    assert_non_null(strstr(err.field, "devices[1].forward["));
    close(fd);
    assert_int_equal(0, mvm__net_forward_check(s->vm, net, "devices[1]", &err));
    mvm_record_unref(net);
}

static void test_port_in_use(void **state)
{
    check_taken(*state, SOCK_STREAM, "127.0.0.1:%d");
    check_taken(*state, SOCK_STREAM, "tcp:0.0.0.0:%d");
    check_taken(*state, SOCK_DGRAM, "udp:127.0.0.1:%d");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_nat, setup, teardown),
        cmocka_unit_test_setup_teardown(test_words_and_addresses, setup, teardown),
        cmocka_unit_test_setup_teardown(test_bridged, setup, teardown),
        cmocka_unit_test(test_picked_ports),
        cmocka_unit_test(test_text_that_lies),
        cmocka_unit_test_setup_teardown(test_port_in_use, setup, teardown),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
