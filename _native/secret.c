#include <assert.h>
#include <errno.h>
#include <unistd.h>
#ifdef __linux__
#include <sys/prctl.h>
#endif
#if defined(__APPLE__) || defined(__FreeBSD__)
#include <sys/random.h>
#endif

#include "secret.h"

int
random_fill(uint8_t *buffer, size_t length)
{
	assert(length <= 256);
	return getentropy(buffer, length) == 0 ? 0 : errno;
}

int
equal_in_constant_time(const uint8_t *a, const uint8_t *b, size_t length)
{
	uint32_t difference = 0;

	for (size_t i = 0; i < length; i++)
		difference |= a[i] ^ b[i];
	/* 0 becomes 1 and 1..255 become 0, without a branch */
	return (int)((difference - 1) >> 31);
}

void
forbid_dumps(void)
{
#ifdef __linux__
	prctl(PR_SET_DUMPABLE, 0);
#endif
}
