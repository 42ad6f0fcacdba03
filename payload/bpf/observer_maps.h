/* SPDX-License-Identifier: GPL-2.0 */
/* What all observers are made of. */
#ifndef PAYLOAD_BPF_OBSERVER_MAPS_H
#define PAYLOAD_BPF_OBSERVER_MAPS_H

#include "observer.h"

#define RECORD		struct observed
#define RECORD_MAX	OBSERVER_SEEN_MAX
#include "record.h"

#endif /* PAYLOAD_BPF_OBSERVER_MAPS_H */
