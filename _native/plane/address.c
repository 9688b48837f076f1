/*
 * Socket addresses, written as the system has them.
 */
#include "address.h"

#include <assert.h>
#include <netinet/in.h>
#include <string.h>
#include <sys/un.h>

void
plane_address(struct plane_address *address, int family, const uint8_t *bytes, size_t length,
    uint16_t port, uint32_t flow, uint32_t scope)
{
	union {
		struct sockaddr_in in;
		struct sockaddr_in6 in6;
		struct sockaddr_un un;
	} socket_address;

	memset(&socket_address, 0, sizeof(socket_address));
	if (family == AF_INET) {
		socket_address.in.sin_family = AF_INET;
		socket_address.in.sin_port = htons(port);
		assert(length == sizeof(socket_address.in.sin_addr));
		memcpy(&socket_address.in.sin_addr, bytes, length);
		address->length = sizeof(socket_address.in);
	} else if (family == AF_INET6) {
		socket_address.in6.sin6_family = AF_INET6;
		socket_address.in6.sin6_port = htons(port);
		socket_address.in6.sin6_flowinfo = htonl(flow);
		socket_address.in6.sin6_scope_id = scope;
		assert(length == sizeof(socket_address.in6.sin6_addr));
		memcpy(&socket_address.in6.sin6_addr, bytes, length);
		address->length = sizeof(socket_address.in6);
	} else {
		socket_address.un.sun_family = AF_UNIX;
		assert(length < sizeof(socket_address.un.sun_path));
		memcpy(socket_address.un.sun_path, bytes, length);
		address->length = (uint32_t)(offsetof(struct sockaddr_un, sun_path) + length + 1);
	}
	memcpy(address->bytes, &socket_address, address->length);
}

int
address_family(const struct plane_address *address)
{
	sa_family_t family;

	memcpy(&family, address->bytes + offsetof(struct sockaddr, sa_family), sizeof(family));
	return family;
}

int
address_leaves_port(const struct plane_address *address)
{
	struct sockaddr_in in;		/* sockaddr_in6 has its port at the same place */

	if (address_family(address) == AF_UNIX)
		return 0;
	memcpy(&in, address->bytes, sizeof(in));
	return in.sin_port == 0;
}

const struct sockaddr *
address_sockaddr(const struct plane_address *address)
{
	return (const struct sockaddr *)(const void *)address->bytes;
}
