#ifndef SANDBOX_FILTER_H
#define SANDBOX_FILTER_H

/*
 * The filter of system calls: which of them this process and its children may make, from now on and
 * for good.
 */

/* Can this kernel filter system calls, and do we have a filter for this architecture?  Returns 0 if
 * so, else an errno value; ENOSYS on systems other than Linux. */
int sandbox_can_filter(void);

/*
 * Filter system calls.  `needs` is a set of enum sandbox_needs.  What is not allowed fails with EPERM;
 * what only an attacker would try, and what no caller checks, ends the process with SIGSYS.  Returns 0
 * or an errno value.
 */
int sandbox_filter(unsigned needs);

#endif
