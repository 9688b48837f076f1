/*
 * No new privileges, by prctl().
 */
#include "privileges.h"

#include <errno.h>

#ifdef __linux__

#include <sys/prctl.h>

int
sandbox_forbid_new_privileges(void)
{
	return prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 ? 0 : errno;
}

#else

int
sandbox_forbid_new_privileges(void)
{
	return ENOSYS;
}

#endif
