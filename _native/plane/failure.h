#ifndef PLANE_FAILURE_H
#define PLANE_FAILURE_H

/*
 * Why a connection ends, as the steps find it and the end reports it.
 */

#include <stdint.h>

#include "ending.h"

struct failure {
	int error;			/* an errno value, or 0 */
	uint8_t cause;			/* enum plane_cause */
	uint8_t side;			/* enum plane_side */
	uint8_t heard;			/* enum heard; connection_end() knows */
};

#endif
