#ifndef GROUP14_H
#define GROUP14_H

/*
 * The sizes of the numbers of group 14 (RFC 3526, section 3).
 */

#define GROUP14_BYTES 256		/* of an element, big-endian */
#define GROUP14_SECRET_BYTES 32		/* of x in the exponent 2^258 + x, big-endian */

#endif
