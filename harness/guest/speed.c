// SPDX-License-Identifier: GPL-2.0
/*
 * Print by what factor this machine is slower than a real one, at what the tests do: system calls,
 * page faults, processes that come and go, and some arithmetic. Deadlines are scaled by it.
 *
 *	speed		prints a number from 1.0 to 1000.0
 *
 * A round takes 2.4 ms under TCG on an idle host: 15 ms in all, a factor of 13. On a busy host more
 * rounds are taken, until two have been left alone.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

/*
 * Microseconds of a round on a real machine: the tenth percentile of 1000 on an AMD EPYC of 2.6 GHz
 * (Zen 4), Linux 6.18, under KVM, which is slower than the metal.
 */
#define NOMINAL_US	180.0

#define ROUNDS		5
#define MOST_ROUNDS	40
/* The two best rounds agree if the second took at most that much longer. */
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

static void fault(void)
{
	char *pages = mmap(NULL, PAGES * PAGE, PROT_READ | PROT_WRITE,
			   MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (pages == MAP_FAILED)
		exit(1);
	for (int i = 0; i < PAGES; i++)
		pages[i * PAGE] = 1;
	munmap(pages, PAGES * PAGE);
}

static double round_us(void)
{
	volatile unsigned int state = 1;
	double start = now_us();
	pid_t child = fork();

	if (!child)
		_exit(0);
	if (child < 0 || waitpid(child, NULL, 0) != child)
		exit(1);
	fault();
	for (int i = 0; i < CALLS; i++)
		getppid();
	for (int i = 0; i < STEPS; i++)
		state = state * 1664525 + 1013904223;
	return now_us() - start;
}

static int compare(const void *left, const void *right)
{
	double difference = *(const double *)left - *(const double *)right;

	return (difference > 0) - (difference < 0);
}

int main(void)
{
	double rounds[MOST_ROUNDS], factor;
	int n = 0;

	/* The first one is slower than any later one. */
	round_us();
	do {
		rounds[n++] = round_us();
		qsort(rounds, n, sizeof(*rounds), compare);
	} while (n < ROUNDS || (n < MOST_ROUNDS && rounds[1] > AGREED * rounds[0]));
	/* Not the best alone, which may be luck. */
	factor = rounds[1] / NOMINAL_US;
	if (factor < 1)
		factor = 1;
	if (factor > 1000)
		factor = 1000;
	printf("%.1f\n", factor);
	return 0;
}
