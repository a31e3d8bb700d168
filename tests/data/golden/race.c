// SPDX-License-Identifier: GPL-2.0
/*
 * Generated from specs/race.toml and its template: do not edit.
 *
 * Two at once: sealing, unmapping, punching, closing and killing against
 * creation. Whoever wins, no sealed memory is in a buffer, and afterwards all
 * is given back. What is random starts from a seed that is printed: KSFT_SEED=N
 * in the environment, or harness check --seed N, makes the same choices. Two
 * loops that run freely beside each other make none: they meet elsewhere in
 * every round by themselves. Nor does what waits until the other is where it
 * must be.
 */

#include "kselftest_harness.h"
#include "udmabuf_test.h"
#include "memlock_test.h"

#include <pthread.h>
#include <time.h>

#define THREADS		4
#define ROUNDS		12

static long long now_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return now.tv_sec * 1000000000LL + now.tv_nsec;
}

static void spin(long long nanoseconds)
{
	long long end = now_ns() + nanoseconds;

	while (now_ns() < end)
		;
}

FIXTURE(seal)
{
	struct baseline before;
	int device;
	size_t bytes;
};

/* The pages of the memfd. */
FIXTURE_VARIANT(seal)
{
	bool huge;
};

FIXTURE_VARIANT_ADD(seal, shmem)
{
	.huge = false,
};

FIXTURE_VARIANT_ADD(seal, hugetlb)
{
	.huge = true,
};

FIXTURE_SETUP(seal)
{
	self->bytes = variant->huge ? HUGE_PAGE_BYTES : PAGE_BYTES;
	if (variant->huge && !reserve_huge_pages(1))
		SKIP(return, "not enough memory for a huge page");
	self->device = open_device(_metadata);
	baseline_take(&self->before);
}

FIXTURE_TEARDOWN(seal)
{
	EXPECT_TRUE(check_baseline(_metadata, &self->before));
}

/* A memfd without pages: filling the hole is what creation takes time for. */
static int make_sparse(struct __test_metadata *_metadata, bool huge, size_t bytes)
{
	int fd = make_memfd(huge ? MFD_HUGETLB | MFD_HUGE_2MB : 0, bytes, F_SEAL_SHRINK);

	ASSERT_LE(0, fd);
	return fd;
}

#define SEAL_ROUNDS	8

/* What a child that races says when it can start, and is told. */
enum start { WAIT, READY, GO };

/* Return: the child, which is ready; 0 in the child, once @start is GO. */
static pid_t fork_ready(struct __test_metadata *_metadata, int *start)
{
	int wait = WAIT;
	pid_t child = fork();

	ASSERT_LE(0, child);
	if (child) {
		while (__atomic_load_n(start, __ATOMIC_ACQUIRE) == WAIT)
			sched_yield();
		return child;
	}
	__atomic_compare_exchange_n(start, &wait, READY, false, __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE);
	while (__atomic_load_n(start, __ATOMIC_ACQUIRE) != GO)
		;
	return 0;
}

/* A child that seals the file so many nanoseconds after @start is GO, to be raced against. */
static pid_t fork_sealer(struct __test_metadata *_metadata, int memfd, int *start, long long delay)
{
	pid_t child = fork_ready(_metadata, start);

	if (child)
		return child;
	spin(delay);
	_exit(fcntl(memfd, F_ADD_SEALS, F_SEAL_WRITE) != 0);
}

/*
 * Wait for the child. While a buffer lives, it has nothing to hope for once it sleeps in the
 * kernel, where it waits 150 ms for the pins to go: killed, it looks once more and is done.
 */
static void end_sealer(pid_t child, bool buffer)
{
	while (!waitpid(child, NULL, WNOHANG)) {
		if (buffer && read_state(child) == 'D')
			kill(child, SIGKILL);
		sched_yield();
	}
}

/*
 * Guards: pages that are held without a reference that F_ADD_SEALS sees, or
 * longer than the buffer lives
 */
TEST_F(seal, busy)
{
	int memfd = make_sparse(_metadata, variant->huge, self->bytes), now = GO;
	int dmabuf = create(self->device, memfd, self->bytes - PAGE_BYTES, PAGE_BYTES, 0);

	ASSERT_LE(0, dmabuf);
	end_sealer(fork_sealer(_metadata, memfd, &now, 0), true);
	EXPECT_EQ(F_SEAL_SHRINK, fcntl(memfd, F_GET_SEALS));
	close(dmabuf);
	EXPECT_EQ(0, fcntl(memfd, F_ADD_SEALS, F_SEAL_WRITE));
	EXPECT_EQ(-EINVAL, create(self->device, memfd, 0, PAGE_BYTES, 0));
	close(memfd);
}

static long long time_creation(struct __test_metadata *_metadata, FIXTURE_DATA(seal) *self,
			       bool huge)
{
	int memfd = make_sparse(_metadata, huge, self->bytes), dmabuf;
	long long start = now_ns(), end;

	dmabuf = create(self->device, memfd, 0, self->bytes, 0);
	end = now_ns();
	ASSERT_LE(0, dmabuf);
	close(dmabuf);
	close(memfd);
	return end - start;
}

/*
 * By how much the sealer starts behind the creator, or before him: up to the time of a creation, and
 * most often next to nothing, since from the check of the seals to the first pin it is not far.
 */
static long long pick_lag(unsigned int *seed, long long time)
{
	double part = (rand_r(seed) % 2049 - 1024) / 1024.0;

	return part * part * part * time;
}

/*
 * Guards: M4: a memfd that is sealed between the check of its seals and the pin
 */
TEST_F(seal, never_both)
{
	long long time = time_creation(_metadata, self, variant->huge), lag;
	unsigned int seed = random_seed(_metadata);
	int *start = mmap(NULL, PAGE_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	int dmabuf, memfd, round;
	bool sealed;
	pid_t child;

	ASSERT_NE(MAP_FAILED, start);
	for (round = 0; round < SEAL_ROUNDS; round++) {
		__atomic_store_n(start, WAIT, __ATOMIC_RELEASE);
		memfd = make_sparse(_metadata, variant->huge, self->bytes);
		lag = pick_lag(&seed, time);
		child = fork_sealer(_metadata, memfd, start, lag);
		__atomic_store_n(start, GO, __ATOMIC_RELEASE);
		spin(-lag);
		dmabuf = create(self->device, memfd, 0, self->bytes, 0);
		end_sealer(child, dmabuf >= 0);
		sealed = fcntl(memfd, F_GET_SEALS) & F_SEAL_WRITE;
		EXPECT_EQ(sealed ? -EINVAL : 0, dmabuf < 0 ? dmabuf : 0) {
			TH_LOG("round %d", round);
		}
		if (dmabuf >= 0)
			close(dmabuf);
		close(memfd);
	}
}

/* So much that allocating it takes a while. */
#define FILL_BYTES	(8 * HUGE_PAGE_BYTES)

#define LOCK_ROUNDS	4

FIXTURE(lock)
{
	struct baseline before;
	int device;
};

FIXTURE_SETUP(lock)
{
	self->device = open_device(_metadata);
	baseline_take(&self->before);
}

FIXTURE_TEARDOWN(lock)
{
	EXPECT_TRUE(check_baseline(_metadata, &self->before));
}

/* fallocate() holds the lock that F_ADD_SEALS takes, until the last page is there. */
static void *fill_file(void *argument)
{
	return (void *)(long)fallocate(*(int *)argument, 0, 0, FILL_BYTES);
}

static long long count_blocks(int fd)
{
	struct stat stat;

	return fstat(fd, &stat) ? -1 : stat.st_blocks;
}

/* Guards: M4: seals that are checked without the inode lock */
TEST_F(lock, awaited)
{
	int memfd = make_memfd(0, FILL_BYTES, F_SEAL_SHRINK), dmabuf;
	pthread_t thread;
	void *result;

	ASSERT_LE(0, memfd);
	ASSERT_EQ(0, pthread_create(&thread, NULL, fill_file, &memfd));
	while (!count_blocks(memfd))
		;
	dmabuf = create(self->device, memfd, 0, PAGE_BYTES, 0);
	EXPECT_EQ(FILL_BYTES / 512, count_blocks(memfd));
	ASSERT_LE(0, dmabuf);
	pthread_join(thread, &result);
	EXPECT_EQ(NULL, result);
	close(dmabuf);
	close(memfd);
}

/* Wait up to two seconds for a child that needs the lock, which nobody else does. */
static bool gets_lock(pid_t child)
{
	int milliseconds;

	for (milliseconds = 0; milliseconds < 2000; milliseconds++) {
		if (waitpid(child, NULL, WNOHANG))
			return true;
		usleep(1000);
	}
	return false;
}

/* Kill a creator who waits for the lock, unless it is free before he does. */
static void kill_waiting(struct __test_metadata *_metadata, int device, int *start)
{
	int memfd = make_memfd(0, FILL_BYTES, F_SEAL_SHRINK);
	pthread_t thread;
	pid_t child;

	ASSERT_LE(0, memfd);
	__atomic_store_n(start, WAIT, __ATOMIC_RELEASE);
	child = fork_ready(_metadata, start);
	if (!child)
		_exit(create(device, memfd, 0, PAGE_BYTES, 0) < 0);
	ASSERT_EQ(0, pthread_create(&thread, NULL, fill_file, &memfd));
	while (!count_blocks(memfd))
		;
	__atomic_store_n(start, GO, __ATOMIC_RELEASE);
	while (read_state(child) != 'D' && count_blocks(memfd) < FILL_BYTES / 512)
		;
	kill(child, SIGKILL);
	join(child);
	pthread_join(thread, NULL);
	child = fork();
	ASSERT_LE(0, child);
	if (!child)
		_exit(fcntl(memfd, F_ADD_SEALS, F_SEAL_GROW) != 0);
	EXPECT_TRUE(gets_lock(child));
	EXPECT_EQ(F_SEAL_SHRINK | F_SEAL_GROW, fcntl(memfd, F_GET_SEALS));
	close(memfd);
}

/*
 * Guards: a lock that a creator who was killed waiting for it never had, and
 * lets go of
 */
TEST_F_TIMEOUT(lock, killed, 5)
{
	int *start = mmap(NULL, PAGE_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS,
			  -1, 0);
	int round;

	ASSERT_NE(MAP_FAILED, start);
	for (round = 0; round < LOCK_ROUNDS; round++)
		kill_waiting(_metadata, self->device, start);
}

/*
 * Whoever seals waits for the lock, and then creation does: the seal comes first. Should the lock
 * be free before both of them wait, either may win.
 */
/* Guards: M4: seals that are checked before the inode lock is there */
TEST_F(lock, sealed_meanwhile)
{
	int *start = mmap(NULL, PAGE_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	int memfd, dmabuf, round;
	pthread_t thread;
	bool sealed;
	pid_t child;

	ASSERT_NE(MAP_FAILED, start);
	for (round = 0; round < LOCK_ROUNDS; round++) {
		memfd = make_memfd(0, FILL_BYTES, F_SEAL_SHRINK);
		ASSERT_LE(0, memfd);
		__atomic_store_n(start, WAIT, __ATOMIC_RELEASE);
		child = fork_sealer(_metadata, memfd, start, 0);
		ASSERT_EQ(0, pthread_create(&thread, NULL, fill_file, &memfd));
		while (!count_blocks(memfd))
			;
		__atomic_store_n(start, GO, __ATOMIC_RELEASE);
		while (read_state(child) != 'D' && count_blocks(memfd) < FILL_BYTES / 512)
			;
		dmabuf = create(self->device, memfd, 0, PAGE_BYTES, 0);
		pthread_join(thread, NULL);
		end_sealer(child, dmabuf >= 0);
		sealed = fcntl(memfd, F_GET_SEALS) & F_SEAL_WRITE;
		EXPECT_EQ(sealed ? -EINVAL : 0, dmabuf < 0 ? dmabuf : 0);
		if (dmabuf >= 0)
			close(dmabuf);
		close(memfd);
	}
}

#ifdef UDMABUF_IOV_CREATE
#define HOLE_PAGES	2

/* Who punches a hole in a file of huge pages again while it is filled. */
struct puncher {
	int memfd;
	int over;
};

/* From its first page on a file is being filled: to punch, one waits for the lock. */
static void *punch_again(void *argument)
{
	struct puncher *puncher = argument;

	while (!count_blocks(puncher->memfd))
		if (__atomic_load_n(&puncher->over, __ATOMIC_RELAXED))
			return NULL;
	return (void *)(long)fallocate(puncher->memfd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
				       0, HOLE_PAGES * HUGE_PAGE_BYTES);
}

/* What fills a hole is zeros, although its huge pages held something else in the last round. */
static void check_filled(struct __test_metadata *_metadata, int dmabuf)
{
	size_t bytes = HOLE_PAGES * HUGE_PAGE_BYTES, i;
	char *map;

	ASSERT_EQ(0, map_shared(dmabuf, bytes, (void **)&map));
	for (i = 0; i < bytes; i += PAGE_BYTES)
		ASSERT_EQ(0, *(__u64 *)(map + i)) TH_LOG("page %zu", i / PAGE_BYTES);
	fill_pages(map, SEED_BUFFER, bytes / PAGE_BYTES);
	munmap(map, bytes);
}

/*
 * Guards: a hole that is there again once it was filled: a page with its last
 * owner's data, or none, which is a BUG of 6.12
 */
TEST_F(lock, punched_again)
{
	struct puncher puncher;
	pthread_t thread;
	int dmabuf, round;
	void *result;

	if (!reserve_huge_pages(2 * HOLE_PAGES))
		SKIP(return, "not enough memory for %d huge pages", 2 * HOLE_PAGES);
	for (round = 0; round < ROUNDS; round++) {
		puncher.memfd = make_memfd(MFD_HUGETLB | MFD_HUGE_2MB, HOLE_PAGES * HUGE_PAGE_BYTES,
					   F_SEAL_SHRINK);
		puncher.over = 0;
		ASSERT_LE(0, puncher.memfd);
		ASSERT_EQ(0, pthread_create(&thread, NULL, punch_again, &puncher));
		dmabuf = create(self->device, puncher.memfd, 0, HOLE_PAGES * HUGE_PAGE_BYTES, 0);
		__atomic_store_n(&puncher.over, 1, __ATOMIC_RELAXED);
		pthread_join(thread, &result);
		EXPECT_EQ(NULL, result);
		ASSERT_LE(0, dmabuf) TH_LOG("round %d", round);
		check_filled(_metadata, dmabuf);
		close(dmabuf);
		close(puncher.memfd);
	}
}
#endif

FIXTURE(create)
{
	struct baseline before;
	struct source source;
	int device;
};

/* What is exported by one thread while another changes it. */
FIXTURE_VARIANT(create)
{
	struct layout layout;
};

FIXTURE_VARIANT_ADD(create, anon_many)
{
	.layout = {
		.backing = ANON,
		.pages = 8,
		.nr_runs = 4,
		.runs = { { 6, 1 }, { 0, 2 }, { 4, 2 }, { 3, 1 } },
	},
};

FIXTURE_VARIANT_ADD(create, thp_many)
{
	.layout = {
		.backing = THP,
		.pages = 512,
		.nr_runs = 4,
		.runs = { { 300, 2 }, { 257, 3 }, { 100, 1 }, { 258, 1 } },
	},
};

FIXTURE_VARIANT_ADD(create, shmem_many)
{
	.layout = {
		.backing = SHMEM,
		.pages = 8,
		.nr_runs = 4,
		.runs = { { 6, 1 }, { 0, 2 }, { 4, 2 }, { 3, 1 } },
	},
};

FIXTURE_VARIANT_ADD(create, hugetlb_many)
{
	.layout = {
		.backing = HUGETLB,
		.pages = 1024,
		.nr_runs = 4,
		.runs = { { 1023, 1 }, { 511, 2 }, { 700, 3 }, { 0, 1 } },
	},
};

FIXTURE_SETUP(create)
{
	if (!source_open(_metadata, &self->source, &variant->layout))
		return;
	self->device = open_device(_metadata);
	baseline_take(&self->before);
}

FIXTURE_TEARDOWN(create)
{
	EXPECT_TRUE(check_baseline(_metadata, &self->before));
}

/* One of several threads, with two pages of the source that are its own. */
struct maker {
	pthread_barrier_t *start;
	struct source source;
	struct layout layout;
	int device;
	int errors;
};

/* Make a buffer and look at its pages. Return: 0, or what went wrong as -errno. */
static int make_and_look(const struct maker *maker)
{
	size_t first = maker->layout.runs[0].first;
	int dmabuf = export_source(maker->device, &maker->source), error;
	char *map;

	if (dmabuf < 0)
		return dmabuf;
	error = map_shared(dmabuf, 2 * PAGE_BYTES, (void **)&map);
	close(dmabuf);
	if (error)
		return error;
	if (!page_is_stamped(map, SEED_SOURCE, first) ||
	    !page_is_stamped(map + PAGE_BYTES, SEED_SOURCE, first + 1))
		error = -EILSEQ;
	munmap(map, 2 * PAGE_BYTES);
	return error;
}

static void *make_in_rounds(void *argument)
{
	struct maker *maker = argument;
	int round;

	for (round = 0; round < ROUNDS; round++) {
		pthread_barrier_wait(maker->start);
		maker->errors += !!make_and_look(maker);
	}
	return NULL;
}

/*
 * Guards: a request, or anything else of one call, that is kept where the next
 * call finds it
 */
TEST_F(create, close)
{
	struct maker makers[THREADS];
	pthread_t threads[THREADS];
	pthread_barrier_t start;
	int i;

	ASSERT_EQ(0, pthread_barrier_init(&start, NULL, THREADS));
	for (i = 0; i < THREADS; i++) {
		makers[i] = (struct maker) { .source = self->source, .device = self->device };
		makers[i].layout = variant->layout;
		makers[i].layout.nr_runs = 1;
		makers[i].layout.runs[0].first = 2 * i;
		makers[i].layout.runs[0].count = 2;
		makers[i].source.layout = &makers[i].layout;
		makers[i].start = &start;
		ASSERT_EQ(0, pthread_create(&threads[i], NULL, make_in_rounds, &makers[i]));
	}
	for (i = 0; i < THREADS; i++)
		pthread_join(threads[i], NULL);
	for (i = 0; i < THREADS; i++)
		EXPECT_EQ(0, makers[i].errors);
}

/* Who changes the memory in a thread of its own, and how often that has been done. */
struct changer {
	const struct source *source;
	int rounds;
	int errors;
	int stop;
};

static bool goes_on(struct changer *changer)
{
	__atomic_add_fetch(&changer->rounds, 1, __ATOMIC_RELAXED);
	return !__atomic_load_n(&changer->stop, __ATOMIC_RELAXED);
}

/* Both sides take so many rounds at least, whichever the machine lets run first. */
static bool is_enough(const struct changer *changer, int round)
{
	return round >= ROUNDS && __atomic_load_n(&changer->rounds, __ATOMIC_RELAXED) >= ROUNDS;
}

/* Wait until what the other thread does has been done once, from its beginning to its end. */
static void await_round(const struct changer *changer)
{
	int start = __atomic_load_n(&changer->rounds, __ATOMIC_RELAXED);

	while (__atomic_load_n(&changer->rounds, __ATOMIC_RELAXED) - start < 2)
		sched_yield();
}

/* Whoever asks for memory next gets the pages that were freed last. */
static void *discard_until_stopped(void *argument)
{
	struct changer *changer = argument;
	size_t bytes = changer->source->bytes;
	char *other = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1,
			   0);

	do {
		changer->errors += !!discard_pages(changer->source);
		fill_pages(other, SEED_CHILD, bytes / PAGE_BYTES);
		changer->errors += !!madvise(other, bytes, MADV_DONTNEED);
	} while (goes_on(changer));
	munmap(other, bytes);
	return NULL;
}

/*
 * Guards: pages looked up without a reference: MADV_DONTNEED or a hole punched
 * into the file frees them under the buffer
 */
TEST_F(create, discard)
{
	struct changer changer = { .source = &self->source };
	size_t bytes = layout_pages(&variant->layout) * PAGE_BYTES;
	int round, dmabuf;
	pthread_t thread;
	void *map;

	/* Each page of the buffer may have been taken away before the next is filled in again. */
	if (variant->layout.backing == HUGETLB && !reserve_huge_pages(bytes / PAGE_BYTES))
		SKIP(return, "not enough memory for %zu huge pages", bytes / PAGE_BYTES);
	ASSERT_EQ(0, pthread_create(&thread, NULL, discard_until_stopped, &changer));
	for (round = 0; !is_enough(&changer, round); round++) {
		dmabuf = export_source(self->device, &self->source);
		ASSERT_LE(0, dmabuf) TH_LOG("round %d", round);
		ASSERT_EQ(0, map_shared(dmabuf, bytes, &map));
		fill_buffer(map, SEED_BUFFER, &variant->layout);
		await_round(&changer);
		EXPECT_EQ(0, check_buffer(_metadata, map, SEED_BUFFER, &variant->layout));
		munmap(map, bytes);
		close(dmabuf);
	}
	__atomic_store_n(&changer.stop, 1, __ATOMIC_RELAXED);
	pthread_join(thread, NULL);
	EXPECT_EQ(0, changer.errors);
}

#define FORKS	10

/* Always with a child that has all of the memory: the last lives until the next one does. */
static void *fork_until_stopped(void *argument)
{
	struct changer *changer = argument;
	pid_t child, last = 0;

	do {
		child = fork();
		if (!child)
			for (;;)
				pause();
		changer->errors += child < 0;
		if (last > 0) {
			kill(last, SIGKILL);
			join(last);
		}
		last = child;
	} while (goes_on(changer));
	if (last > 0) {
		kill(last, SIGKILL);
		join(last);
	}
	return NULL;
}

/*
 * Guards: B10: pins that fork() does not see while they are being taken, so
 * that the parent gets the copy
 */
TEST_F(create, fork)
{
	struct changer changer = { .source = &self->source };
	size_t bytes = layout_pages(&variant->layout) * PAGE_BYTES;
	int round, dmabuf;
	pthread_t thread;
	void *map;

	ASSERT_EQ(0, pthread_create(&thread, NULL, fork_until_stopped, &changer));
	for (round = 0; __atomic_load_n(&changer.rounds, __ATOMIC_RELAXED) < FORKS; round++) {
		/* What was copied for a child is not huge any more: begin with new memory. */
		if (self->source.memfd < 0)
			ASSERT_EQ(0, discard_pages(&self->source));
		fill_pages(self->source.map, SEED_SOURCE, variant->layout.pages);
		dmabuf = export_source(self->device, &self->source);
		ASSERT_LE(0, dmabuf) TH_LOG("round %d", round);
		ASSERT_EQ(0, map_shared(dmabuf, bytes, &map));
		fill_pages(self->source.map, SEED_BUFFER, variant->layout.pages);
		EXPECT_EQ(0, check_buffer(_metadata, map, SEED_BUFFER, &variant->layout));
		munmap(map, bytes);
		close(dmabuf);
	}
	__atomic_store_n(&changer.stop, 1, __ATOMIC_RELAXED);
	pthread_join(thread, NULL);
	EXPECT_EQ(0, changer.errors);
}

#ifdef UDMABUF_IOV_CREATE
/*
 * Put nothing and memory in turns where the last entry is, and no more than must go with it; the
 * first is pinned by then.
 */
static void *unmap_until_stopped(void *argument)
{
	struct changer *changer = argument;
	const struct source *source = changer->source;
	size_t unit = source->layout->backing == HUGETLB ? HUGE_PAGE_BYTES : PAGE_BYTES;
	size_t last_run = source->layout->runs[source->layout->nr_runs - 1].first * PAGE_BYTES;
	size_t offset = last_run / unit * unit;
	int flags = source->memfd < 0 ? MAP_PRIVATE | MAP_ANONYMOUS : MAP_SHARED;
	unsigned char *last = source->map + offset;

	do {
		munmap(last, unit);
		if (mmap(last, unit, PROT_READ | PROT_WRITE, flags | MAP_FIXED_NOREPLACE,
			 source->memfd, source->memfd < 0 ? 0 : offset) != last)
			changer->errors++;
	} while (goes_on(changer));
	return NULL;
}

/*
 * Guards: pins that stay when the rest of a range is gone; VMA checks without
 * mmap_lock
 */
TEST_F(create, unmap)
{
	struct changer changer = { .source = &self->source };
	int round, dmabuf;
	pthread_t thread;

	if (!driver_is_udmabuf_iov())
		SKIP(return, "this driver does not take iovecs");
	ASSERT_EQ(0, pthread_create(&thread, NULL, unmap_until_stopped, &changer));
	for (round = 0; !is_enough(&changer, round); round++) {
		dmabuf = create_iov(self->device, self->source.map, &variant->layout, 0);
		if (dmabuf >= 0)
			close(dmabuf);
		else
			EXPECT_EQ(-EFAULT, dmabuf);
	}
	__atomic_store_n(&changer.stop, 1, __ATOMIC_RELAXED);
	pthread_join(thread, NULL);
	EXPECT_EQ(0, changer.errors);
}

/*
 * A user that runs nothing else; entries that name the same 2 MiB so often that it takes time, and
 * not more pages than a machine of 1 GiB has that KASAN and bounce buffers have taken their part of.
 */
#define KILLED_UID	61186
#define KILLED_RUNS	300
#define KILLED_TRIES	5

struct big_iov {
	struct udmabuf_iov_create head;
	struct udmabuf_iov_entry entries[KILLED_RUNS];
};

struct big_list {
	struct udmabuf_create_list head;
	struct udmabuf_create_item items[KILLED_RUNS];
};

FIXTURE(killed)
{
	struct baseline before;
	struct source source;
	struct layout layout;
	int device;
	struct big_iov iov;
	struct big_list list;
};

/* SIGKILL while a large buffer is being made. */
FIXTURE_VARIANT(killed)
{
	bool iov;
};

FIXTURE_VARIANT_ADD(killed, iovecs)
{
	.iov = true,
};

FIXTURE_VARIANT_ADD(killed, memfds)
{
	.iov = false,
};

FIXTURE_SETUP(killed)
{
	int i;

	if (!driver_is_udmabuf_iov())
		SKIP(return, "this driver numbers no buffers");
	self->layout.pages = HUGE_PAGE_BYTES / PAGE_BYTES;
	self->layout.backing = variant->iov ? ANON : SHMEM;
	if (!source_open(_metadata, &self->source, &self->layout))
		return;
	self->iov.head.niov = self->list.head.count = KILLED_RUNS;
	for (i = 0; i < KILLED_RUNS; i++) {
		self->iov.entries[i].base = (uintptr_t)self->source.map;
		self->iov.entries[i].len = self->source.bytes;
		self->list.items[i].memfd = self->source.memfd;
		self->list.items[i].size = self->source.bytes;
	}
	self->device = open_device(_metadata);
	ASSERT_EQ(0, set_user(KILLED_UID));
	ASSERT_EQ(0, set_capable(false));
	ASSERT_EQ(0, set_limit(RLIM_INFINITY));
	baseline_take(&self->before);
}

FIXTURE_TEARDOWN(killed)
{
	EXPECT_TRUE(check_baseline(_metadata, &self->before));
}

/* Make a small buffer. Return: its number, which is one more than that of the buffer before. */
static long long number_of_next(struct __test_metadata *_metadata, FIXTURE_DATA(killed) *self)
{
	struct layout layout = self->layout;
	long long number;
	int dmabuf;

	layout.nr_runs = 1;
	layout.runs[0].count = 1;
	self->source.layout = &layout;
	dmabuf = export_source(self->device, &self->source);
	ASSERT_LE(0, dmabuf);
	number = read_field(UDMABUF_IOV_BUFFERS, "id ");
	close(dmabuf);
	return number;
}

/*
 * Make the large buffer, with SIGKILL to come from a timer so many ns later. (Timers that count CPU time
 * would only be looked at when the call is over.)
 */
static void create_and_die(struct __test_metadata *_metadata, FIXTURE_DATA(killed) *self, bool iov,
			   long delay)
{
	struct sigevent event = { .sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGKILL };
	struct itimerspec soon = { .it_value.tv_nsec = delay };
	timer_t timer;

	ASSERT_EQ(0, timer_create(CLOCK_MONOTONIC, &event, &timer));
	ASSERT_EQ(0, timer_settime(timer, 0, &soon, NULL));
	ASSERT_LE(0, iov ? call(self->device, UDMABUF_IOV_CREATE, &self->iov) :
			   call(self->device, UDMABUF_CREATE_LIST, &self->list));
	_exit(0);
}

/*
 * Guards: a loop over pages or entries that does not look for a fatal signal;
 * pins and charge of a creation that was killed
 */
TEST_F(killed, refund)
{
	long long number = number_of_next(_metadata, self);
	unsigned int seed = random_seed(_metadata);
	int try, status = 0;
	long delay;
	pid_t child;

	for (try = 0; try < KILLED_TRIES && !status; try++) {
		delay = 1000000 + rand_r(&seed) % 1000000;
		child = fork();
		ASSERT_LE(0, child);
		if (!child)
			create_and_die(_metadata, self, variant->iov, delay);
		status = join(child);
		number += !status;
	}
	EXPECT_EQ(-1, status) TH_LOG("not killed in %d attempts", try);
	/* Only a creation that went on to its end took a number. */
	EXPECT_EQ(number + 1, number_of_next(_metadata, self));
	/* Were a page of it still charged, there would be no room for this one. */
	ASSERT_EQ(0, set_limit(PAGE_BYTES));
	number_of_next(_metadata, self);
}

/* A user that runs nothing else, and the limit in pages. */
#define CHARGED_UID	61187
#define CHARGED_LIMIT	8

/* A VM whose CPUs have to share one would need long for what two do at once: no longer. */
#define CHARGED_NS	2000000000LL

FIXTURE(charge)
{
	struct baseline before;
	struct charge_race *race;
	int device;
};

/* Shared by two processes of this user, each on a CPU. */
struct charge_race {
	cpu_set_t cpus;
	unsigned int seed;
	int met[2];
	size_t pages[2];	/* of the buffer that each has, or 0 */
	int above;		/* rounds in which they had more than the limit */
	int refused;		/* rounds in which nobody had what there was room for */
	int attempts[2];
	bool over;
	int errors;
};

FIXTURE_SETUP(charge)
{
	if (!driver_is_udmabuf_iov())
		SKIP(return, "this driver charges nobody");
	self->race = mmap(NULL, sizeof(*self->race), PROT_READ | PROT_WRITE,
			  MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	ASSERT_NE(MAP_FAILED, self->race);
	ASSERT_EQ(0, sched_getaffinity(0, sizeof(self->race->cpus), &self->race->cpus));
	self->device = open_device(_metadata);
	ASSERT_EQ(0, set_user(CHARGED_UID));
	ASSERT_EQ(0, set_capable(false));
	ASSERT_EQ(0, set_limit(CHARGED_LIMIT * PAGE_BYTES));
	baseline_take(&self->before);
}

FIXTURE_TEARDOWN(charge)
{
	EXPECT_TRUE(check_baseline(_metadata, &self->before));
}

static int make_of_pages(int device, void *memory, size_t pages)
{
	struct layout layout = { .nr_runs = 1, .runs = { { 0, pages } } };

	return create_iov(device, memory, &layout, UDMABUF_IOV_FLAGS_CLOEXEC);
}

/* Who waits for long sleeps, so that a VM whose CPUs have to share one lets the other go on. */
static void meet(struct charge_race *race, int who)
{
	int times = race->met[who] + 1, look;

	__atomic_store_n(&race->met[who], times, __ATOMIC_RELEASE);
	for (look = 1; __atomic_load_n(&race->met[!who], __ATOMIC_ACQUIRE) < times; look++)
		if (look % 10000 == 0)
			usleep(20);
}

static void count_error(struct charge_race *race)
{
	__atomic_add_fetch(&race->errors, 1, __ATOMIC_RELAXED);
}

static char *map_own_memory(void)
{
	return mmap(NULL, CHARGED_LIMIT * PAGE_BYTES, PROT_READ | PROT_WRITE,
		    MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
}

/*
 * Run the same in two processes, of which neither must end before the other: what goes wrong is
 * counted. At the end all of the limit is free again, and no more.
 */
static void race_for_charge(struct __test_metadata *_metadata, struct charge_race *race, int device,
			    void (*run)(struct charge_race *race, int who, int device))
{
	char *memory = map_own_memory();
	pid_t child;
	int dmabuf;

	ASSERT_NE(MAP_FAILED, memory);
	race->seed = random_seed(_metadata);
	child = fork();
	ASSERT_LE(0, child);
	stay_on_cpu(&race->cpus, !child);
	run(race, !child, device);
	if (!child)
		_exit(0);
	EXPECT_EQ(0, join(child));
	EXPECT_EQ(0, race->above);
	EXPECT_EQ(0, race->refused);
	EXPECT_EQ(0, race->errors);
	dmabuf = make_of_pages(device, memory, CHARGED_LIMIT);
	EXPECT_LE(0, dmabuf);
	EXPECT_EQ(-ENOMEM, make_of_pages(device, memory, 1));
	if (dmabuf >= 0)
		close(dmabuf);
}

#define CHARGED_ROUNDS	300

/* Both ask at the same time for a part of the limit, and look at what they have got. */
static void charge_in_rounds(struct charge_race *race, int who, int device)
{
	char *memory = map_own_memory();
	unsigned int seed = race->seed;
	long long end = now_ns() + CHARGED_NS;
	size_t wanted[2], made;
	int round, dmabuf;

	for (round = 0; round < CHARGED_ROUNDS && !race->over; round++) {
		wanted[0] = 1 + rand_r(&seed) % CHARGED_LIMIT;
		wanted[1] = 1 + rand_r(&seed) % CHARGED_LIMIT;
		meet(race, who);
		dmabuf = make_of_pages(device, memory, wanted[who]);
		race->pages[who] = dmabuf < 0 ? 0 : wanted[who];
		/* Between two meetings: both read the same behind the second. */
		if (!who)
			race->over = now_ns() > end;
		meet(race, who);
		made = race->pages[0] + race->pages[1];
		race->above += !who && made > CHARGED_LIMIT;
		race->refused += !who && (wanted[0] + wanted[1] > CHARGED_LIMIT ?
					  !made : made < wanted[0] + wanted[1]);
		if (dmabuf >= 0)
			close(dmabuf);
		else if (dmabuf != -ENOMEM)
			count_error(race);
	}
	munmap(memory, CHARGED_LIMIT * PAGE_BYTES);
}

/*
 * Guards: a limit that is looked at before the charge is made, so that both are
 * let in
 */
TEST_F(charge, kept)
{
	race_for_charge(_metadata, self->race, self->device, charge_in_rounds);
}

/*
 * A creation that fails as soon as it is charged does nearly nothing else: so many of them meet
 * within the few instructions of a charge, where two that are made seldom do. Only those count
 * beside which the other has made one or two of his own.
 */
#define CHARGED_BESIDE	10000

/* Each asks for what there always is room for, whatever the other does, or for what there never is. */
static void charge_in_vain(struct charge_race *race, int who, int device)
{
	int attempt, before, now, beside = 0, result;
	long long end = now_ns() + CHARGED_NS;
	unsigned int seed = race->seed + who;
	char *hole = map_own_memory();
	size_t pages;

	munmap(hole, CHARGED_LIMIT * PAGE_BYTES);
	meet(race, who);
	for (attempt = 1; !__atomic_load_n(&race->over, __ATOMIC_RELAXED); attempt++) {
		pages = 1 + rand_r(&seed) % (CHARGED_LIMIT / 2);
		if (rand_r(&seed) % 2)
			pages += CHARGED_LIMIT;
		before = __atomic_load_n(&race->attempts[!who], __ATOMIC_RELAXED);
		result = make_of_pages(device, hole, pages);
		now = __atomic_load_n(&race->attempts[!who], __ATOMIC_RELAXED);
		__atomic_store_n(&race->attempts[who], attempt, __ATOMIC_RELAXED);
		beside += now - before == 1 || now - before == 2;
		if (beside == CHARGED_BESIDE || now_ns() > end)
			__atomic_store_n(&race->over, true, __ATOMIC_RELAXED);
		if (result != (pages > CHARGED_LIMIT ? -ENOMEM : -EFAULT))
			count_error(race);
	}
}

/*
 * Guards: a charge of more than one step: that of the other is lost, or it
 * refuses him what there is room for
 */
TEST_F(charge, refunded)
{
	race_for_charge(_metadata, self->race, self->device, charge_in_vain);
}
#endif

TEST_HARNESS_MAIN
