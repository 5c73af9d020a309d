/* SPDX-License-Identifier: MIT */
/*
 * Plays a sine through ALSA's own ioctls: tone FREQUENCY SECONDS. Static, so that a guest without
 * any library can play; what it plays goes through the whole of the kernel's sound and the device.
 */
#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>

#include <sound/asound.h>

enum { RATE = 48000, CHANNELS = 2, CHUNK = 1024, PERIOD = 4096, PERIODS = 4, LOUDNESS = 12000 };

static void die(const char *what)
{
    fprintf(stderr, "%s: %s\n", what, strerror(errno));
    exit(1);
}

/* Of a parameter that is one of several kinds: this one. */
static void pick(struct snd_pcm_hw_params *p, int n, unsigned bit)
{
    struct snd_mask *mask = &p->masks[n - SNDRV_PCM_HW_PARAM_FIRST_MASK];

    memset(mask->bits, 0, sizeof(mask->bits));
    mask->bits[bit / 32] = 1u << (bit % 32);
}

/* Of a parameter that is a number: exactly this. */
static void fix(struct snd_pcm_hw_params *p, int n, unsigned value)
{
    struct snd_interval *i = &p->intervals[n - SNDRV_PCM_HW_PARAM_FIRST_INTERVAL];

    i->min = i->max = value;
    i->integer = 1;
}

static int open_pcm(const char *path)
{
    struct snd_pcm_hw_params hw = {.rmask = ~0u};
    /* Nothing sounds before the buffer was full once: an emulated guest needs the head start. */
    struct snd_pcm_sw_params sw = {.period_step = 1,
                                   .avail_min = PERIOD,
                                   .start_threshold = PERIOD * PERIODS,
                                   .stop_threshold = PERIOD * PERIODS,
                                   .boundary = PERIOD * PERIODS};
    int fd = open(path, O_WRONLY);

    if (fd < 0)
        die(path);
    memset(hw.masks, 0xff, sizeof(hw.masks));
    for (size_t i = 0; i < sizeof(hw.intervals) / sizeof(hw.intervals[0]); i++)
        hw.intervals[i].max = ~0u;
    pick(&hw, SNDRV_PCM_HW_PARAM_ACCESS, SNDRV_PCM_ACCESS_RW_INTERLEAVED);
    pick(&hw, SNDRV_PCM_HW_PARAM_FORMAT, SNDRV_PCM_FORMAT_S16_LE);
    fix(&hw, SNDRV_PCM_HW_PARAM_CHANNELS, CHANNELS);
    fix(&hw, SNDRV_PCM_HW_PARAM_RATE, RATE);
    fix(&hw, SNDRV_PCM_HW_PARAM_PERIOD_SIZE, PERIOD);
    fix(&hw, SNDRV_PCM_HW_PARAM_PERIODS, PERIODS);
    if (ioctl(fd, SNDRV_PCM_IOCTL_HW_PARAMS, &hw) != 0 ||
        ioctl(fd, SNDRV_PCM_IOCTL_SW_PARAMS, &sw) != 0 || ioctl(fd, SNDRV_PCM_IOCTL_PREPARE) != 0)
        die("parameters");
    return fd;
}

static void play(int fd, double frequency, long total)
{
    short frames[CHUNK][CHANNELS];

    for (long at = 0; at < total;) {
        long n = total - at < CHUNK ? total - at : CHUNK;
        for (long i = 0; i < n; i++)
            frames[i][0] = frames[i][1] =
                (short)(LOUDNESS * sin(2 * M_PI * frequency * (double)(at + i) / RATE));
        struct snd_xferi out = {.buf = frames, .frames = (unsigned long)n};
        if (ioctl(fd, SNDRV_PCM_IOCTL_WRITEI_FRAMES, &out) == 0)
            at += out.result;
        else if (errno != EPIPE || ioctl(fd, SNDRV_PCM_IOCTL_PREPARE) != 0) /* not an underrun */
            die("write");
    }
}

int main(int argc, char **argv)
{
    int fd = open_pcm("/dev/snd/pcmC0D0p");

    if (argc != 3)
        return 2;
    play(fd, atof(argv[1]), (long)(atof(argv[2]) * RATE));
    /* QEMU answers the stop at the end with an error when everything was played. */
    if (ioctl(fd, SNDRV_PCM_IOCTL_DRAIN) != 0 && errno != EIO)
        die("drain");
    return 0;
}
