// SPDX-License-Identifier: GPL-2.0
/*
 * Give the guest's random number generator a seed from the host, and have it used at once.
 *
 * Guests restored from one snapshot begin with the same generator state. A write to /dev/urandom
 * would be mixed in, but used minutes later only; the ioctls of random(4) are what takes effect
 * before the next read.
 *
 *	reseed HEX	HEX: a multiple of two hex digits, at most 128
 */
#include <fcntl.h>
#include <linux/random.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>

/* Since Linux 4.17; not in every libc's copy of the header. */
#ifndef RNDRESEEDCRNG
#define RNDRESEEDCRNG _IO('R', 0x07)
#endif

int main(int argc, char **argv)
{
	struct {
		struct rand_pool_info info;
		unsigned char bytes[64];
	} seed;
	unsigned char *bytes = (unsigned char *)seed.info.buf;
	size_t length = argc == 2 ? strlen(argv[1]) / 2 : 0;
	int fd;

	if (!length || length > sizeof(seed.bytes)) {
		fprintf(stderr, "usage: reseed HEX\n");
		return 2;
	}
	for (size_t i = 0; i < length; i++) {
		if (sscanf(argv[1] + 2 * i, "%2hhx", &bytes[i]) != 1)
			return 2;
	}
	seed.info.buf_size = length;
	seed.info.entropy_count = 8 * length;
	fd = open("/dev/urandom", O_RDWR);
	if (fd < 0 || ioctl(fd, RNDADDENTROPY, &seed) || ioctl(fd, RNDRESEEDCRNG)) {
		perror("reseed");
		return 1;
	}
	return 0;
}
