/*
 * Secrets: by the operating system's generator, without a branch, and out of others' sight.
 */
#include "secret.h"

#include <assert.h>
#include <errno.h>
#include <string.h>
#include <unistd.h>
#ifdef __linux__
#include <sys/prctl.h>
#endif
#if defined(__APPLE__) || defined(__FreeBSD__)
#include <sys/random.h>
#endif

int
random_fill(uint8_t *buffer, size_t length)
{
	assert(length <= 256);
	return getentropy(buffer, length) == 0 ? 0 : errno;
}

int
equal_in_constant_time(const uint8_t *a, const uint8_t *b, size_t length)
{
	uint64_t difference = 0, x, y;
	size_t i = 0;

	for (; length - i >= sizeof(x); i += sizeof(x)) {
		memcpy(&x, a + i, sizeof(x));
		memcpy(&y, b + i, sizeof(y));
		difference |= x ^ y;
	}
	for (; i < length; i++)
		difference |= (uint64_t)(a[i] ^ b[i]);
	/* d | -d has its highest bit clear for 0 alone */
	return (int)(1 ^ (difference | -difference) >> 63);
}

void
forbid_dumps(void)
{
#ifdef __linux__
	prctl(PR_SET_DUMPABLE, 0);
#endif
}
