#pragma once

// The only place where socket options are chosen; each is set explicitly, for a reason given there.

#include <zmq.hpp>

#include "common/types.h"

namespace millrace::net {

/// For the broker: refuses unroutable sends, bounds frames, handshakes and queues.
void configure_router(zmq::socket_t& socket);
/// For producers and workers.
void configure_dealer(zmq::socket_t& socket, Duration linger);

}  // namespace millrace::net
