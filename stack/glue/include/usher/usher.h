// Everything an embedder needs. In the source tree and installed the same: #include
// <usher/usher.h>.
//
//   Stack    shards, listeners, applications: any ports, your own loop     (stack/api/)
//   Runtime  the same on DPDK, with its cores, its clock and its loop      (stack/glue/runtime.h)
//
// The contract of threads and ownership is in stack/api/README.md; a whole server in
// app/examples/echo.cc.
#pragma once

#include "stack/api/stack.h"
#include "stack/glue/runtime.h"
