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

/* A device writes the hash of each packet beside it, and has done so. */
static const uint64_t DPDK_WRITES_HASH = RTE_ETH_RX_OFFLOAD_RSS_HASH;
static const uint64_t DPDK_HAS_HASH = RTE_MBUF_F_RX_RSS_HASH;

/* A driver tells when its device is removed. */
static const uint32_t DPDK_TELLS_REMOVAL = RTE_ETH_DEV_INTR_RMV;

/* What is hashed by source and destination address, with ports or without. A device takes each packet for the deepest kind that it knows
 * and for no other (rte_ethdev.h), so all kinds are named. Not the _EX kinds, which hash the addresses of extension headers. */
static const uint64_t DPDK_RSS_V4 = RTE_ETH_RSS_IPV4 | RTE_ETH_RSS_FRAG_IPV4 | RTE_ETH_RSS_NONFRAG_IPV4_TCP |
    RTE_ETH_RSS_NONFRAG_IPV4_UDP | RTE_ETH_RSS_NONFRAG_IPV4_SCTP | RTE_ETH_RSS_NONFRAG_IPV4_OTHER;
static const uint64_t DPDK_RSS_V6 = RTE_ETH_RSS_IPV6 | RTE_ETH_RSS_FRAG_IPV6 | RTE_ETH_RSS_NONFRAG_IPV6_TCP |
    RTE_ETH_RSS_NONFRAG_IPV6_UDP | RTE_ETH_RSS_NONFRAG_IPV6_SCTP | RTE_ETH_RSS_NONFRAG_IPV6_OTHER;
/* The least of these that TCP and UDP are hashed by. */
static const uint64_t DPDK_RSS_ANY_V4 = RTE_ETH_RSS_IPV4;
static const uint64_t DPDK_RSS_FLOWS_V4 = RTE_ETH_RSS_NONFRAG_IPV4_TCP | RTE_ETH_RSS_NONFRAG_IPV4_UDP;
static const uint64_t DPDK_RSS_ANY_V6 = RTE_ETH_RSS_IPV6;
static const uint64_t DPDK_RSS_FLOWS_V6 = RTE_ETH_RSS_NONFRAG_IPV6_TCP | RTE_ETH_RSS_NONFRAG_IPV6_UDP;
