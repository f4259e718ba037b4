/* See shim.h. */
#include <rte_errno.h>
#include <rte_ethdev.h>
#include <rte_lcore.h>
#include <rte_mbuf.h>

#include "shim.h"

int dpdk_errno(void) { return rte_errno; }

uint32_t dpdk_lcore_id(void) { return rte_lcore_id(); }

struct rte_mbuf *dpdk_mbuf_alloc(struct rte_mempool *pool) { return rte_pktmbuf_alloc(pool); }

void dpdk_mbuf_free(struct rte_mbuf *mbuf) { rte_pktmbuf_free(mbuf); }

uint16_t dpdk_rx_burst(uint16_t port, uint16_t queue, struct rte_mbuf **frames, uint16_t count) {
    return rte_eth_rx_burst(port, queue, frames, count);
}

uint16_t dpdk_tx_burst(uint16_t port, uint16_t queue, struct rte_mbuf **frames, uint16_t count) {
    return rte_eth_tx_burst(port, queue, frames, count);
}
