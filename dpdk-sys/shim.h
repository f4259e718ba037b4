/* Functions for what DPDK has only as inline code or as thread-local variables, which bindgen cannot reach. */
#ifndef DPDK_SYS_SHIM_H
#define DPDK_SYS_SHIM_H

#include <stdint.h>

struct rte_mbuf;
struct rte_mempool;

/* rte_errno of the calling thread. */
int dpdk_errno(void);
/* The calling thread's lcore id, or UINT32_MAX when it is not registered. */
uint32_t dpdk_lcore_id(void);
/* One frame buffer with length 0 and the usual headroom, or NULL when the pool is empty. */
struct rte_mbuf *dpdk_mbuf_alloc(struct rte_mempool *pool);
/* Gives all segments of a frame back to their pools. */
void dpdk_mbuf_free(struct rte_mbuf *mbuf);
/* Receives at most `count` frames from a queue; returns how many. */
uint16_t dpdk_rx_burst(uint16_t port, uint16_t queue, struct rte_mbuf **frames, uint16_t count);
/* Sends; the device owns the first so many frames as it returns. */
uint16_t dpdk_tx_burst(uint16_t port, uint16_t queue, struct rte_mbuf **frames, uint16_t count);

#endif
