#ifndef PROTOCOL_ROLE_H
#define PROTOCOL_ROLE_H

/*
 * The two roles of the protocol (DESIGN.md, "Protocol").
 */

enum role {
	ROLE_C,				/* the client: encrypts what it accepts */
	ROLE_S				/* the server: decrypts what it accepts */
};

#endif
