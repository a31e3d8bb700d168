/* SPDX-License-Identifier: GPL-2.0 */
/*
 * sync_race.h: threads that start to access the same new buffer at the same time. Include
 * udmabuf_test.h first.
 */
#ifndef SYNC_RACE_H
#define SYNC_RACE_H

#include <pthread.h>

/* Rounds with a buffer of its own each. A window of one kmalloc() is hit in every fourth. */
#define NEW_BUFFERS	40

/* More than two CPUs take: some are at it while others already wait. */
#define SYNC_THREADS	4

/* Shared by threads which wait for each other awake, on a CPU of their own if there is one. */
struct sync_race {
	cpu_set_t cpus;
	int dmabuf;
	int begun;	/* rounds */
	int ended;	/* rounds of all threads but the first */
	int errors;
};

struct sync_thread {
	pthread_t thread;
	struct sync_race *race;
	int cpu;
};

static inline void sync_once(struct sync_race *race)
{
	if (sync_buffer(race->dmabuf, DMA_BUF_SYNC_START | DMA_BUF_SYNC_RW) ||
	    sync_buffer(race->dmabuf, DMA_BUF_SYNC_END | DMA_BUF_SYNC_RW))
		__atomic_add_fetch(&race->errors, 1, __ATOMIC_RELAXED);
}

static inline void await_count(const int *counter, int count)
{
	int look;

	for (look = 1; __atomic_load_n(counter, __ATOMIC_ACQUIRE) != count; look++)
		if (look % 1000 == 0)
			sched_yield();
}

static inline void *sync_in_rounds(void *argument)
{
	struct sync_thread *self = argument;
	struct sync_race *race = self->race;
	int round;

	stay_on_cpu(&race->cpus, self->cpu);
	for (round = 1; round <= NEW_BUFFERS; round++) {
		await_count(&race->begun, round);
		sync_once(race);
		__atomic_add_fetch(&race->ended, 1, __ATOMIC_RELEASE);
	}
	return NULL;
}

/* Make the first calls on a new buffer from all threads at once, again and again. */
static inline void race_for_first_sync(struct __test_metadata *_metadata, int device,
				       const struct source *source)
{
	struct sync_thread threads[SYNC_THREADS];
	struct sync_race race = { 0 };
	int round, i;

	ASSERT_EQ(0, sched_getaffinity(0, sizeof(race.cpus), &race.cpus));
	for (i = 1; i < SYNC_THREADS; i++) {
		threads[i].race = &race;
		threads[i].cpu = i % CPU_COUNT(&race.cpus);
		ASSERT_EQ(0, pthread_create(&threads[i].thread, NULL, sync_in_rounds,
					    &threads[i]));
	}
	stay_on_cpu(&race.cpus, 0);
	for (round = 1; round <= NEW_BUFFERS; round++) {
		race.dmabuf = export_source(device, source);
		ASSERT_LE(0, race.dmabuf);
		__atomic_store_n(&race.begun, round, __ATOMIC_RELEASE);
		sync_once(&race);
		await_count(&race.ended, round * (SYNC_THREADS - 1));
		close(race.dmabuf);
	}
	for (i = 1; i < SYNC_THREADS; i++)
		pthread_join(threads[i].thread, NULL);
	EXPECT_EQ(0, race.errors);
}

#endif /* SYNC_RACE_H */
