/* SPDX-License-Identifier: GPL-2.0 */
/*
 * sync_race.h: two threads that start to access the same new buffer at the same time. Include
 * udmabuf_test.h first.
 */
#ifndef SYNC_RACE_H
#define SYNC_RACE_H

#include <pthread.h>

/* Rounds with a buffer of its own each. A window of one kmalloc() is hit in every fourth. */
#define NEW_BUFFERS	40

/* Shared by two threads, each on a CPU, which wait for each other awake. */
struct sync_race {
	cpu_set_t cpus;
	int dmabuf;
	int begun;	/* rounds */
	int ended;
	int errors;
};

static inline void sync_once(struct sync_race *race)
{
	if (sync_buffer(race->dmabuf, DMA_BUF_SYNC_START | DMA_BUF_SYNC_RW) ||
	    sync_buffer(race->dmabuf, DMA_BUF_SYNC_END | DMA_BUF_SYNC_RW))
		__atomic_add_fetch(&race->errors, 1, __ATOMIC_RELAXED);
}

static inline void await_round_of_race(const int *rounds, int round)
{
	int look;

	for (look = 1; __atomic_load_n(rounds, __ATOMIC_ACQUIRE) != round; look++)
		if (look % 1000 == 0)
			sched_yield();
}

static inline void *sync_in_rounds(void *argument)
{
	struct sync_race *race = argument;
	int round;

	stay_on_cpu(&race->cpus, 1);
	for (round = 1; round <= NEW_BUFFERS; round++) {
		await_round_of_race(&race->begun, round);
		sync_once(race);
		__atomic_store_n(&race->ended, round, __ATOMIC_RELEASE);
	}
	return NULL;
}

/* Make the first calls on a new buffer from both at once, again and again. */
static inline void race_for_first_sync(struct __test_metadata *_metadata, int device,
				       const struct source *source)
{
	struct sync_race race = { 0 };
	pthread_t thread;
	int round;

	ASSERT_EQ(0, sched_getaffinity(0, sizeof(race.cpus), &race.cpus));
	ASSERT_EQ(0, pthread_create(&thread, NULL, sync_in_rounds, &race));
	stay_on_cpu(&race.cpus, 0);
	for (round = 1; round <= NEW_BUFFERS; round++) {
		race.dmabuf = export_source(device, source);
		ASSERT_LE(0, race.dmabuf);
		__atomic_store_n(&race.begun, round, __ATOMIC_RELEASE);
		sync_once(&race);
		await_round_of_race(&race.ended, round);
		close(race.dmabuf);
	}
	pthread_join(thread, NULL);
	EXPECT_EQ(0, race.errors);
}

#endif /* SYNC_RACE_H */
