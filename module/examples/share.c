// SPDX-License-Identifier: GPL-2.0
/*
 * Make a dma-buf of two pieces of ordinary memory and look at it through mmap().
 *
 *	cc -I include/uapi -o share examples/share.c && ./share
 */
#include <err.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <linux/dma-buf.h>
#include <linux/udmabuf_iov.h>

static void sync_buffer(int fd, __u64 flags)
{
	struct dma_buf_sync sync = { .flags = flags };

	if (ioctl(fd, DMA_BUF_IOCTL_SYNC, &sync) < 0)
		err(1, "DMA_BUF_IOCTL_SYNC");
}

int main(void)
{
	const size_t page = sysconf(_SC_PAGESIZE);
	struct udmabuf_iov_create *create;
	char *memory, *view;
	int device, buffer;

	device = open("/dev/udmabuf", O_RDONLY | O_CLOEXEC);
	if (device < 0)
		err(1, "/dev/udmabuf");
	memory = mmap(NULL, 4 * page, PROT_READ | PROT_WRITE,
		      MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (memory == MAP_FAILED)
		err(1, "mmap");

	/* The buffer: page 3, then page 0. */
	create = calloc(1, sizeof(*create) + 2 * sizeof(create->iovs[0]));
	if (!create)
		err(1, "calloc");
	create->flags = UDMABUF_IOV_FLAGS_CLOEXEC;
	create->niov = 2;
	create->iovs[0].base = (unsigned long)(memory + 3 * page);
	create->iovs[0].len = page;
	create->iovs[1].base = (unsigned long)memory;
	create->iovs[1].len = page;
	buffer = ioctl(device, UDMABUF_IOV_CREATE, create);
	if (buffer < 0)
		err(1, "UDMABUF_IOV_CREATE");
	free(create);
	close(device);

	view = mmap(NULL, 2 * page, PROT_READ, MAP_SHARED, buffer, 0);
	if (view == MAP_FAILED)
		err(1, "mmap of the dma-buf");

	/* No copy was made: what is written here is read there. */
	snprintf(memory + 3 * page, page, "hello, ");
	snprintf(memory, page, "world");
	sync_buffer(buffer, DMA_BUF_SYNC_START | DMA_BUF_SYNC_READ);
	printf("%s%s\n", view, view + page);
	sync_buffer(buffer, DMA_BUF_SYNC_END | DMA_BUF_SYNC_READ);

	/* The pages stay pinned, and charged, until these two are gone. */
	munmap(view, 2 * page);
	close(buffer);
	return 0;
}
