#ifndef LOOPBACK_H
#define LOOPBACK_H

/*
 * Sockets of this process that are connected with each other, and when they have told each other all.
 */

#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>

enum transport { TCP, UNIX };

/* A listening socket.  Writes its address. */
int loopback_listen(enum transport transport, struct sockaddr_storage *address, socklen_t *length);

/* Connect to an address; the connection waits to be accepted. */
int loopback_connect(const struct sockaddr_storage *address, socklen_t length);

/* Accept the one that waits, or return -1. */
int loopback_accept(int listener);

/* Send everything; it has to fit. */
void loopback_send(int fd, const uint8_t *data, size_t length);

/* How many bytes can be read. */
size_t loopback_waiting(int fd);

/* Let all sockets that there are hold more than a batch. */
void loopback_enlarge_all(void);

/* Wait until all that was sent, opened and closed has arrived at the other end. */
void loopback_settle(void);

/* End, saying why. */
__attribute__((format(printf, 1, 2))) _Noreturn void give_up(const char *format, ...);

#endif
