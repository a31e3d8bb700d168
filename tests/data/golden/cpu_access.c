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

FIXTURE_VARIANT_ADD(threads, thp_many)
{
	.layout = {
		.backing = THP,
		.pages = 512,
		.nr_runs = 4,
		.runs = { { 300, 2 }, { 257, 3 }, { 100, 1 }, { 258, 1 } },
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
		.runs = { { 1023, 1 }, { 511, 2 }, { 700, 3 }, { 0, 1 } },
	},
};

FIXTURE_SETUP(threads)
{
	if (!source_open(_metadata, &self->source, &variant->layout))
		return;
#ifdef DMABUF_IMPORTER_ATTACH
	allow_overlap(&variant->layout);
#endif
	self->device = open_device(_metadata);
	baseline_take(&self->before);
}

FIXTURE_TEARDOWN(threads)
{
	EXPECT_TRUE(check_baseline(_metadata, &self->before));
}

/*
 * Guards: M16: begin without a lock, so that two at once make two tables and
 * lose one
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
 * Guards: M16: the same from kernel threads, while a device has the buffer
 * mapped
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

FIXTURE(waiting)
{
	struct imported imported;
	pid_t holder;
};

/* A child that waits while somebody else is at its access. */
struct waiter {
	pid_t child;
	int socket;	/* says that it is about to wait, and that it has been interrupted */
};

static int socket_of_alarm;

static void tell_of_alarm(int signal)
{
	(void)signal;
	tell(socket_of_alarm);
}

FIXTURE_SETUP(waiting)
{
	static const struct layout layout = {
		.backing = SHMEM, .pages = 1, .nr_runs = 1, .runs = { { 0, 1 } },
	};
	struct imported *in = &self->imported;

	if (!driver_is_udmabuf_iov())
		SKIP(return, "this driver does not ask the devices that are attached");
	if (!import_layout(_metadata, in, &layout))
		return;
	attach_and_map(_metadata, in, DMABUF_IMPORTER_DEV_FAILING, DMABUF_IMPORTER_BIDIRECTIONAL);
	/* An end needs one that was begun. */
	ASSERT_EQ(0, sync_buffer(in->dmabuf, sync_flags[START_BOTH]));
	if (stall_syncs(in->importer, DMABUF_IMPORTER_STALL_BEGIN) == -EOPNOTSUPP)
		SKIP(return, "no device has DMA operations of its own (CONFIG_ARCH_HAS_DMA_OPS)");
	self->holder = fork();
	ASSERT_LE(0, self->holder);
	if (!self->holder)
		_exit(-sync_buffer(in->dmabuf, sync_flags[START_BOTH]));
	ASSERT_EQ(0, stall_syncs(in->importer, DMABUF_IMPORTER_STALL_AWAIT));
}

FIXTURE_TEARDOWN(waiting)
{
	struct imported *in = &self->imported;

	/* Also after a test that came to no end. */
	stall_syncs(in->importer, DMABUF_IMPORTER_STALL_END);
	EXPECT_EQ(0, join(self->holder));
	EXPECT_EQ(0, detach_all(in->importer));
	close(in->importer);
	close(in->dmabuf);
	EXPECT_TRUE(check_baseline(_metadata, &in->before));
}

/* Let a child wait, and interrupt it. @state is how it sleeps, proc(5). */
static void interrupt_waiter(struct __test_metadata *_metadata, struct waiter *waiter, int dmabuf,
			     enum call_word what, int restart, char state)
{
	struct sigaction action = { .sa_handler = tell_of_alarm, .sa_flags = restart };
	struct timeval patience = { .tv_sec = 10 };
	int sockets[2], look;

	ASSERT_EQ(0, socketpair(AF_UNIX, SOCK_STREAM, 0, sockets));
	/* What no signal interrupts must fail, not hang. */
	ASSERT_EQ(0, setsockopt(sockets[0], SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience)));
	waiter->socket = sockets[0];
	waiter->child = fork();
	ASSERT_LE(0, waiter->child);
	if (!waiter->child) {
		socket_of_alarm = sockets[1];
		sigaction(SIGALRM, &action, NULL);
		tell(sockets[1]);
		_exit(-sync_buffer(dmabuf, sync_flags[what]));
	}
	close(sockets[1]);
	ASSERT_TRUE(hear(waiter->socket));
	for (look = 0; look < 10000 && read_state(waiter->child) != state; look++)
		usleep(1000);
	EXPECT_EQ(state, read_state(waiter->child));
	kill(waiter->child, SIGALRM);
}

/*
 * Guards: a begin that no signal ends, that goes on without the lock, or says
 * so with another errno
 */
TEST_F(waiting, interrupted)
{
	struct imported *in = &self->imported;
	struct waiter waiter;

	interrupt_waiter(_metadata, &waiter, in->dmabuf, START_BOTH, 0, 'S');
	EXPECT_TRUE(hear(waiter.socket));
	EXPECT_EQ(0, stall_syncs(in->importer, DMABUF_IMPORTER_STALL_END));
	EXPECT_EQ(EINTR, join(waiter.child));
	close(waiter.socket);
}

/*
 * Guards: a begin that fails where the program asked for calls to be restarted
 */
TEST_F(waiting, restarted)
{
	struct imported *in = &self->imported;
	struct waiter waiter;

	interrupt_waiter(_metadata, &waiter, in->dmabuf, START_BOTH, SA_RESTART, 'S');
	EXPECT_TRUE(hear(waiter.socket));
	EXPECT_EQ(0, stall_syncs(in->importer, DMABUF_IMPORTER_STALL_END));
	EXPECT_EQ(0, join(waiter.child));
	close(waiter.socket);
}

/*
 * Guards: an end that a signal keeps from giving the devices what was written
 */
TEST_F(waiting, not_at_end)
{
	struct imported *in = &self->imported;
	struct waiter waiter;

	interrupt_waiter(_metadata, &waiter, in->dmabuf, END_BOTH, 0, 'D');
	EXPECT_EQ(0, stall_syncs(in->importer, DMABUF_IMPORTER_STALL_END));
	EXPECT_EQ(0, join(waiter.child));
	close(waiter.socket);
}
#endif

TEST_HARNESS_MAIN
