/* What bindgen reads: DPDK's headers, the shim, and the constants that bindgen does not see because they are macros with
 * a cast (RTE_BIT64). The names listed in build.rs are bound, nothing else. */
#include <rte_dev.h>
#include <rte_eal.h>
#include <rte_errno.h>
#include <rte_ethdev.h>
#include <rte_lcore.h>
#include <rte_log.h>
#include <rte_mbuf.h>
#include <rte_mempool.h>

#include "shim.h"

static const uint64_t DPDK_RSS_IP = RTE_ETH_RSS_IP;
static const uint64_t DPDK_RSS_TCP = RTE_ETH_RSS_TCP;
static const uint64_t DPDK_RSS_UDP = RTE_ETH_RSS_UDP;
static const uint64_t DPDK_RSS_SCTP = RTE_ETH_RSS_SCTP;
