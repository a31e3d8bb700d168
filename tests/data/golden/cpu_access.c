// SPDX-License-Identifier: GPL-2.0
/*
 * Generated from specs/cpu_access.toml and its template: do not edit.
 *
 * DMA_BUF_IOCTL_SYNC, and the same from the kernel: what brackets the
 * processor's accesses works in every order, from many threads, and before,
 * while and after a device has the buffer mapped.
 */

#include "kselftest_harness.h"
#include "udmabuf_test.h"
#include "importer_test.h"
#include "sync_race.h"

#ifdef DMABUF_IMPORTER_ATTACH
#define THREADS	4
#define ROUNDS	200
#endif

/* Words of the specification's sequences; 0 ends one that is shorter than eight. */
enum call_word {
	DONE,
	START_READ,
	START_WRITE,
	START_BOTH,
	END_READ,
	END_WRITE,
	END_BOTH,
	START_NONE,
	START_UNKNOWN,
};

static const __u64 sync_flags[] = {
	[START_READ] = DMA_BUF_SYNC_START | DMA_BUF_SYNC_READ,
	[START_WRITE] = DMA_BUF_SYNC_START | DMA_BUF_SYNC_WRITE,
	[START_BOTH] = DMA_BUF_SYNC_START | DMA_BUF_SYNC_RW,
	[END_READ] = DMA_BUF_SYNC_END | DMA_BUF_SYNC_READ,
	[END_WRITE] = DMA_BUF_SYNC_END | DMA_BUF_SYNC_WRITE,
	[END_BOTH] = DMA_BUF_SYNC_END | DMA_BUF_SYNC_RW,
	[START_NONE] = DMA_BUF_SYNC_START,
	[START_UNKNOWN] = DMA_BUF_SYNC_START | DMA_BUF_SYNC_RW | 1 << 5,
};

FIXTURE(sync)
{
	struct baseline before;
	struct source source;
	int dmabuf;
};

/*
 * A sequence of up to eight calls, the result of the last, all others having
 * worked.
 */
FIXTURE_VARIANT(sync)
{
	int calls[8];
	int expected;
};

FIXTURE_VARIANT_ADD(sync, read)
{
	.calls = { START_READ, END_READ },
	.expected = 0,
};

FIXTURE_VARIANT_ADD(sync, write)
{
	.calls = { START_WRITE, END_WRITE },
	.expected = 0,
};

FIXTURE_VARIANT_ADD(sync, both)
{
	.calls = { START_BOTH, END_BOTH },
	.expected = 0,
};

FIXTURE_VARIANT_ADD(sync, repeated)
{
	.calls = { START_WRITE, END_WRITE, START_READ, END_READ, START_BOTH, END_BOTH },
	.expected = 0,
};

/* Guards: a mutex that is held from begin to end */
FIXTURE_VARIANT_ADD(sync, nested)
{
	.calls = { START_READ, START_WRITE, END_WRITE, END_READ },
	.expected = 0,
};

FIXTURE_VARIANT_ADD(sync, crossed)
{
	.calls = { START_READ, START_WRITE, END_READ, END_WRITE },
	.expected = 0,
};

/* Guards: a release that waits for the end */
FIXTURE_VARIANT_ADD(sync, not_ended)
{
	.calls = { START_WRITE },
	.expected = 0,
};

FIXTURE_VARIANT_ADD(sync, end_twice)
{
	.calls = { START_WRITE, END_WRITE, END_WRITE },
	.expected = 0,
};

/* Guards: an end that uses what no begin has made */
FIXTURE_VARIANT_ADD(sync, end_first)
{
	.calls = { END_WRITE },
	.expected = EINVAL,
};

FIXTURE_VARIANT_ADD(sync, no_direction)
{
	.calls = { START_NONE },
	.expected = EINVAL,
};

FIXTURE_VARIANT_ADD(sync, unknown_flag)
{
	.calls = { START_UNKNOWN },
	.expected = EINVAL,
};

FIXTURE_SETUP(sync)
{
	static const struct layout layout = {
		.backing = SHMEM, .pages = 4, .nr_runs = 2, .runs = { { 3, 1 }, { 0, 2 } },
	};
	int device;

	if (!source_open(_metadata, &self->source, &layout))
		return;
	baseline_take(&self->before);
	device = open_device(_metadata);
	self->dmabuf = export_source(device, &self->source);
	ASSERT_LE(0, self->dmabuf);
	close(device);
}

FIXTURE_TEARDOWN(sync)
{
	close(self->dmabuf);
	EXPECT_TRUE(check_baseline(_metadata, &self->before));
}

static void run_calls(struct __test_metadata *_metadata, int dmabuf, const int *calls,
		      int expected)
{
	int i;

	for (i = 0; i < 8 && calls[i] != DONE; i++) {
		bool last = i == 7 || calls[i + 1] == DONE;

		EXPECT_EQ(last ? -expected : 0, sync_buffer(dmabuf, sync_flags[calls[i]])) {
			TH_LOG("call %d", i + 1);
		}
	}
}

/*
 * Guards: the row; 9e9fa6a9198b: a WARN at the first call, because the device
 * has no DMA mask
 */
TEST_F_TIMEOUT(sync, alone, 3)
{
	void *map;

	run_calls(_metadata, self->dmabuf, variant->calls, variant->expected);
	ASSERT_EQ(0, map_shared(self->dmabuf, 3 * PAGE_BYTES, &map));
	EXPECT_EQ(0, check_buffer(_metadata, map, SEED_SOURCE, self->source.layout));
	munmap(map, 3 * PAGE_BYTES);
}

#ifdef DMABUF_IMPORTER_ATTACH
/*
 * Guards: M17: a sync of an importer's table with the wrong number of entries
 */
TEST_F(sync, attached)
{
	int importer = open_importer(_metadata), handle;
	struct dmabuf_importer_map map;
	char data[3 * 4096];

	if (importer < 0)
		return;
	ASSERT_EQ(sizeof(data), 3 * PAGE_BYTES);
	handle = attach(importer, self->dmabuf, DMABUF_IMPORTER_DEV_SEG4K, 0);
	ASSERT_LE(0, handle);
	ASSERT_EQ(0, map_dma(importer, handle, DMABUF_IMPORTER_BIDIRECTIONAL, &map));
	run_calls(_metadata, self->dmabuf, variant->calls, variant->expected);
	ASSERT_EQ(0, copy_data(importer, DMABUF_IMPORTER_READ, handle, 0, data, sizeof(data)));
	EXPECT_EQ(0, check_buffer(_metadata, data, SEED_SOURCE, self->source.layout));
	EXPECT_EQ(0, detach_all(importer));
	run_calls(_metadata, self->dmabuf, variant->calls, variant->expected);
	close(importer);
}
#endif

FIXTURE(threads)
{
	struct baseline before;
	struct source source;
	int device;
};

/* What is exported. */
FIXTURE_VARIANT(threads)
{
	struct layout layout;
};

FIXTURE_VARIANT_ADD(threads, anon_many)
{
	.layout = {
		.backing = ANON,
		.pages = 8,
		.nr_runs = 4,
		.runs = { { 6, 1 }, { 0, 2 }, { 4, 2 }, { 3, 1 } },
	},
};

FIXTURE_VARIANT_ADD(threads, shmem_many)
{
	.layout = {
		.backing = SHMEM,
		.pages = 8,
		.nr_runs = 4,
		.runs = { { 6, 1 }, { 0, 2 }, { 4, 2 }, { 3, 1 } },
	},
};

FIXTURE_VARIANT_ADD(threads, hugetlb_many)
{
	.layout = {
		.backing = HUGETLB,
		.pages = 1024,
		.nr_runs = 4,
		.runs = { { 1023, 1 }, { 511, 2 }, { 0, 1 }, { 700, 3 } },
	},
};

FIXTURE_SETUP(threads)
{
	if (!source_open(_metadata, &self->source, &variant->layout))
		return;
	self->device = open_device(_metadata);
	baseline_take(&self->before);
}

FIXTURE_TEARDOWN(threads)
{
	EXPECT_TRUE(check_baseline(_metadata, &self->before));
}

/*
 * Guards: 2.4a, M16: begin without a lock, so that two at once make two tables
 * and lose one
 */
TEST_F(threads, user)
{
	race_for_first_sync(_metadata, self->device, &self->source);
}

#ifdef DMABUF_IMPORTER_ATTACH
static void stress(struct __test_metadata *_metadata, int importer, int dmabuf)
{
	struct dmabuf_importer_stress argument = {
		.fd = dmabuf,
		.direction = DMABUF_IMPORTER_BIDIRECTIONAL,
		.threads = THREADS,
		.loops = ROUNDS,
		.begins = ~0ULL,
		.ends = ~0ULL,
		.error = -1,
	};

	ASSERT_EQ(0, call(importer, DMABUF_IMPORTER_STRESS, &argument));
	EXPECT_EQ(0, argument.error);
	EXPECT_EQ(THREADS * ROUNDS, argument.begins);
	EXPECT_EQ(THREADS * ROUNDS, argument.ends);
}

/*
 * Guards: 2.4a, M16: the same from kernel threads, while a device has the
 * buffer mapped
 */
TEST_F(threads, kernel)
{
	int importer = open_importer(_metadata), dmabuf, handle;
	struct dmabuf_importer_map map;

	if (importer < 0)
		return;
	dmabuf = export_source(self->device, &self->source);
	ASSERT_LE(0, dmabuf);
	stress(_metadata, importer, dmabuf);
	handle = attach(importer, dmabuf, DMABUF_IMPORTER_DEV_DEFAULT, 0);
	ASSERT_LE(0, handle);
	ASSERT_EQ(0, map_dma(importer, handle, DMABUF_IMPORTER_BIDIRECTIONAL, &map));
	stress(_metadata, importer, dmabuf);
	EXPECT_EQ(0, detach_all(importer));
	close(importer);
	close(dmabuf);
	/* A kernel thread's last reference is dropped by a worker that nobody can wait for. */
	EXPECT_TRUE(await_dmabufs(self->before.dmabufs));
}

struct syncer {
	int dmabuf;
	int stop;
	int errors;
};

static void *sync_until_stopped(void *argument)
{
	struct syncer *syncer = argument;

	while (!__atomic_load_n(&syncer->stop, __ATOMIC_RELAXED))
		syncer->errors += sync_buffer(syncer->dmabuf, sync_flags[START_BOTH]) ||
				  sync_buffer(syncer->dmabuf, sync_flags[END_BOTH]);
	return NULL;
}

/* Guards: a list of attachments that changes while begin walks it */
TEST_F(threads, with_mapping)
{
	int importer = open_importer(_metadata), handle, round;
	struct dmabuf_importer_map map;
	struct syncer syncer = { 0 };
	pthread_t thread;

	if (importer < 0)
		return;
	syncer.dmabuf = export_source(self->device, &self->source);
	ASSERT_LE(0, syncer.dmabuf);
	ASSERT_EQ(0, pthread_create(&thread, NULL, sync_until_stopped, &syncer));
	for (round = 0; round < ROUNDS; round++) {
		handle = attach(importer, syncer.dmabuf, round % DMABUF_IMPORTER_NDEVICES, 0);
		ASSERT_LE(0, handle);
		ASSERT_EQ(0, map_dma(importer, handle, DMABUF_IMPORTER_TO_DEVICE, &map));
		ASSERT_EQ(0, unmap_dma(importer, handle));
		ASSERT_EQ(0, detach(importer, handle));
	}
	__atomic_store_n(&syncer.stop, 1, __ATOMIC_RELAXED);
	pthread_join(thread, NULL);
	EXPECT_EQ(0, syncer.errors);
	close(importer);
	close(syncer.dmabuf);
}
#endif

TEST_HARNESS_MAIN
