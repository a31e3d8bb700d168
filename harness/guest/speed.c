// SPDX-License-Identifier: GPL-2.0
/*
 * Print by what factor this machine is slower than a real one, at what the tests do: system calls,
 * page faults, processes that come and go, and some arithmetic. Deadlines are scaled by it.
 *
 *	speed		prints a number from 1.0 to 1000.0
 *
 * A round takes 2.4 ms under TCG on an idle host: 15 ms in all, a factor of 13. On a busy host more
 * rounds are taken, until each part has been left alone twice.
 */
#include <math.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

/*
 * Microseconds of all parts on a real machine: the tenth percentile of 1000 on an AMD EPYC of
 * 2.6 GHz (Zen 4), Linux 6.18, under KVM, which is slower than the metal.
 */
#define NOMINAL_US	180.0

#define ROUNDS		5
#define MOST_ROUNDS	40
/* The two best times agree if the second is at most that much longer. */
#define AGREED		1.2
#define PAGES		32
#define PAGE		4096
#define CALLS		200
#define STEPS		20000

static double now_us(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return now.tv_sec * 1e6 + now.tv_nsec / 1e3;
}

static void processes(void)
{
	pid_t child = fork();

	if (!child)
		_exit(0);
	if (child < 0 || waitpid(child, NULL, 0) != child)
		exit(1);
}

static void faults(void)
{
	char *pages = mmap(NULL, PAGES * PAGE, PROT_READ | PROT_WRITE,
			   MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (pages == MAP_FAILED)
		exit(1);
	for (int i = 0; i < PAGES; i++)
		pages[i * PAGE] = 1;
	munmap(pages, PAGES * PAGE);
}

static void calls(void)
{
	for (int i = 0; i < CALLS; i++)
		getppid();
}

static void arithmetic(void)
{
	volatile unsigned int state = 1;

	for (int i = 0; i < STEPS; i++)
		state = state * 1664525 + 1013904223;
}

/* Short ones, so that some go through between two of a busy host's time slices. */
static void (*const parts[])(void) = { processes, faults, calls, arithmetic };

#define PARTS		(sizeof(parts) / sizeof(parts[0]))

/* The best time of each part, and the second best: the best may be luck. */
static double best_us[PARTS], second_us[PARTS];

static void run_round(void)
{
	for (size_t i = 0; i < PARTS; i++) {
		double start_us = now_us(), took_us;

		parts[i]();
		took_us = now_us() - start_us;
		if (took_us < best_us[i]) {
			second_us[i] = best_us[i];
			best_us[i] = took_us;
		} else if (took_us < second_us[i]) {
			second_us[i] = took_us;
		}
	}
}

static bool agreed(void)
{
	for (size_t i = 0; i < PARTS; i++)
		if (second_us[i] > AGREED * best_us[i])
			return false;
	return true;
}

int main(void)
{
	double factor = 0;

	/* The first one is slower than any later one. */
	run_round();
	for (size_t i = 0; i < PARTS; i++)
		best_us[i] = second_us[i] = HUGE_VAL;
	for (int n = 0; n < ROUNDS || (n < MOST_ROUNDS && !agreed()); n++)
		run_round();
	for (size_t i = 0; i < PARTS; i++)
		factor += second_us[i] / NOMINAL_US;
	if (factor < 1)
		factor = 1;
	if (factor > 1000)
		factor = 1000;
	printf("%.1f\n", factor);
	return 0;
}
