#ifndef SANDBOX_PRIVILEGES_H
#define SANDBOX_PRIVILEGES_H

/*
 * No new privileges: what this process and its children execute gets no more than they have.
 */

/* Give them up, for good; Landlock and the filter need that.  Returns 0 or an errno value, which is
 * ENOSYS on systems other than Linux. */
int sandbox_forbid_new_privileges(void);

#endif
