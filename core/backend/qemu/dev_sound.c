/* SPDX-License-Identifier: MIT */
/*
 * Sound: virtio-sound, into a WAV file or to the host's audio. QEMU has it since 8.2, which the
 * table of abilities says; what else it takes is checked here. Loop thread only.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "backend/qemu/arch.h"
#include "backend/qemu/dev.h"
#include "base/base.h"

#define WAV_HEADER 44 /* as QEMU writes it */

/* ---- the host's audio ---------------------------------------------------------------------- */

static bool socket_in_runtime(const char *name)
{
    const char *dir = getenv("XDG_RUNTIME_DIR");
    MVM_AUTO_FREE char *path = dir && *dir ? mvm__asprintf("%s/%s", dir, name) : NULL;

    return path && access(path, R_OK | W_OK) == 0;
}

static bool has_pipewire(void)
{
    return socket_in_runtime("pipewire-0");
}

static bool has_pulse(void)
{
    return getenv("PULSE_SERVER") || socket_in_runtime("pulse/native");
}

static bool has_alsa(void)
{
    return access("/dev/snd/controlC0", R_OK | W_OK) == 0;
}

/* QEMU's drivers, best first. */
static const struct {
    const char *name;
    bool (*here)(void);
} g_drivers[] = {{"pipewire", has_pipewire}, {"pa", has_pulse}, {"alsa", has_alsa}};

/* Which drivers this QEMU was built and installed with, a line each. Asked once: it takes 20 ms. */
static const char *installed(const char *binary)
{
    static char out[1024];
    int status;

    if (!out[0] && mvm__proc_output((const char *const[]){binary, "-audiodev", "help", NULL}, 10,
                                    out, sizeof(out), &status, NULL) != 0)
        out[0] = '\0';
    return out;
}

/* NULL: there is no audio here. */
static const char *host_driver(mvm_vm *vm)
{
    for (size_t i = 0; i < MVM_COUNT(g_drivers); i++) {
        char line[24];
        snprintf(line, sizeof(line), "\n%s\n", g_drivers[i].name);
        if (g_drivers[i].here() && strstr(installed(mvm__arch_of(vm)->binary), line))
            return g_drivers[i].name;
    }
    return NULL;
}

/* ---- checks ---------------------------------------------------------------------------------- */

static int fail(mvm_err *err, int code, const char *at, const char *field, const char *hint,
                const char *message)
{
    mvm_fail(err, code, "%s", message);
    mvm_err_field(err, "%s.%s", at, field);
    if (hint)
        mvm_err_hint(err, "%s", hint);
    return code;
}

/* QEMU says nothing of a file that it can't write, and plays into nowhere. */
static int check_file(const char *path, const char *at, mvm_err *err)
{
    const char *slash = strrchr(path, '/');
    MVM_AUTO_FREE char *dir = slash ? mvm__strndup(path, (size_t)(slash - path) + 1) : NULL;
    char text[512];
    struct stat st;
    int rc = 0;

    if (stat(path, &st) == 0)
        rc = !S_ISREG(st.st_mode) ? EISDIR : access(path, W_OK) == 0 ? 0 : errno;
    else if (errno != ENOENT || access(dir ? dir : ".", W_OK | X_OK) != 0)
        rc = errno;
    if (rc == 0)
        return 0;
    snprintf(text, sizeof(text), "%.400s can't be written: %s", path,
             rc == EISDIR ? "it is no file" : strerror(rc));
    return fail(err, MVM_ECONFIG, at, "file", NULL, text);
}

static int check(mvm_vm *vm, const mvm_record *sound, const char *at, mvm_err *err)
{
    const char *file = mvm_record_str(sound, "file");
    bool input = mvm_record_bool(sound, "input");

    if (!mvm_record_bool(sound, "output"))
        return input ? fail(err, MVM_EUNSUPPORTED, at, "output", "output = true",
                            "QEMU's sound device can't record without playing")
                     : fail(err, MVM_ECONFIG, at, "output", "output = true, or no sound at all",
                            "a sound device that neither plays nor records");
    if (file && input)
        return fail(err, MVM_ECONFIG, at, "input", "input needs the host's audio: leave out `file`",
                    "there is nothing to record from a file that is played into");
    if (file)
        return check_file(file, at, err);
    if (host_driver(vm))
        return 0;
    return fail(err, MVM_EUNSUPPORTED, at, "file",
                "file = \"out.wav\" takes what the guest plays; or apt-get install qemu-system-gui "
                "on a host with PipeWire, PulseAudio or ALSA",
                "this host has no audio that QEMU can use");
}

/* ---- the device ---------------------------------------------------------------------------------
 */

/* Streams: the first plays, the second records. */
static void parts(mvm__dev *dev, mvm_qemu_parts *p)
{
    const char *file = mvm_record_str(dev->record, "file");
    char audio[32];

    snprintf(audio, sizeof(audio), "%s-audio", dev->id);
    mvm_qemu_part_add(p, MVM_QEMU_AUDIODEV, file ? "wav" : host_driver(dev->run->vm), audio);
    if (file)
        mvm_qemu_key_text(p, "path", file);
    mvm__dev_pci(dev, p, "virtio-sound-pci");
    mvm_qemu_key_text(p, "audiodev", audio);
    mvm_qemu_key_int(p, "streams", mvm_record_bool(dev->record, "input") ? 2 : 1);
}

static void le32(uint8_t *at, uint64_t n)
{
    for (int i = 0; i < 4; i++)
        at[i] = (uint8_t)(n >> 8 * i);
}

/* QEMU writes the lengths into the file when it ends by itself. One that was killed leaves a file
 * which players take for empty. */
static void release(mvm__dev *dev)
{
    const char *path = mvm_record_str(dev->record, "file");
    MVM_AUTO_FD int fd = path ? open(path, O_RDWR | O_CLOEXEC) : -1;
    uint8_t head[WAV_HEADER];
    struct stat st;

    if (fd < 0 || fstat(fd, &st) != 0 || !S_ISREG(st.st_mode) || st.st_size <= WAV_HEADER ||
        st.st_size > UINT32_MAX || pread(fd, head, sizeof(head), 0) != (ssize_t)sizeof(head) ||
        memcmp(head, "RIFF\0\0\0\0WAVE", 12) != 0 || memcmp(head + 36, "data\0\0\0", 8) != 0)
        return;
    le32(head + 4, (uint64_t)st.st_size - 8);
    le32(head + 40, (uint64_t)st.st_size - WAV_HEADER);
    (void)!pwrite(fd, head, sizeof(head), 0);
}

const mvm__dev_ops mvm__dev_sound = {
    .kind = "sound",
    .check = check,
    .parts = parts,
    .release = release,
};
