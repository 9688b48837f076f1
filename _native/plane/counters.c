/*
 * Counters: histograms of times.
 */
#include "counters.h"

#define MS(ms) ((ms) * UINT64_C(1000))
#define S(s) MS((s) * UINT64_C(1000))

const uint64_t time_bounds[TIME_BOUNDS] = {
	500, MS(1), MS(2), MS(5), MS(10), MS(20), MS(50), MS(100), MS(200), MS(500),
	S(1), S(2), S(5), S(10), S(30), S(60), S(300), S(1800), S(7200), S(86400),
};

_Static_assert(TIME_BOUNDS + 2 <= TIME_WORDS, "there is room for the last bucket and the sum");

void
counter_time(uint64_t *counters, enum plane_counter histogram, uint64_t us)
{
	unsigned bucket = 0;

	while (bucket < TIME_BOUNDS && us > time_bounds[bucket])
		bucket++;
	counters[histogram + bucket]++;
	counters[histogram + TIME_WORDS - 1] += us;
}
