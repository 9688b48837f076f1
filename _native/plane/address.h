#ifndef PLANE_ADDRESS_H
#define PLANE_ADDRESS_H

/*
 * Socket addresses, as the system has them.
 */

#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>

#define PLANE_ADDRESS_MAX 112

struct plane_address {
	uint32_t length;		/* 0: none */
	uint8_t bytes[PLANE_ADDRESS_MAX];
};

/*
 * Write an address: family AF_INET or AF_INET6, of 4 or 16 bytes, or AF_UNIX, of
 * as many as the path has.  flow and scope are of AF_INET6.
 */
void plane_address(struct plane_address *address, int family, const uint8_t *bytes, size_t length,
    uint16_t port, uint32_t flow, uint32_t scope);

/* The family of an address, of which there must be one. */
int address_family(const struct plane_address *address);

/* The address is an Internet address with port 0: the system is to choose one. */
int address_leaves_port(const struct plane_address *address);

/* The address as connect() and bind() take it; it is .length bytes long. */
const struct sockaddr *address_sockaddr(const struct plane_address *address);

#endif
