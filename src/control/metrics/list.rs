//! Every family of metrics there is: constant, name, kind, labels, help. `docs/metrics.md` shows the same list, and a test compares.

use super::page::{Family, Kind};

macro_rules! families {
    ($($constant:ident $name:literal $kind:ident [$($label:literal),*] $help:literal,)*) => {
        $(#[doc = $help] pub(super) const $constant: Family =
            Family { name: $name, kind: Kind::$kind, labels: &[$($label),*], help: $help };)*

        /// All of them, in the order of the page.
        pub const ALL: &[Family] = &[$($constant,)*];
    };
}

families! {
    BUILD "pollvs_build_info" Gauge ["version"] "1; the label tells the version of the program.",
    START "pollvs_start_time_seconds" Gauge [] "When the director started, in seconds since 1970.",
    SNAPSHOT "pollvs_snapshot_version" Gauge [] "Version of the rules and the network in force; it grows with every change.",
    DRAINING "pollvs_draining" Gauge [] "1 while the director waits for its connections to end, and schedules none.",
    WARNINGS "pollvs_warnings" Gauge [] "Sentences under warning in pollvs status.",
    SERVICES "pollvs_services" Gauge [] "Virtual services.",
    SERVICES_MAX "pollvs_services_max" Gauge [] "Room for virtual services.",
    DESTINATIONS "pollvs_destinations" Gauge [] "Destinations of all services.",
    DESTINATIONS_MAX "pollvs_destinations_max" Gauge [] "Room for destinations.",
    DRAINS "pollvs_drains" Gauge [] "Destinations that are drained.",

    WORKER_UP "pollvs_worker_up" Gauge ["worker"] "1 if the worker answers control, 0 if it is silent.",
    WORKER_SNAPSHOT "pollvs_worker_snapshot_version" Gauge ["worker"] "Version of the rules and the network that the worker works by.",
    WORKER_TURNS "pollvs_worker_turns_total" Counter ["worker"] "Turns of the poll loop.",
    WORKER_BUSY_TURNS "pollvs_worker_busy_turns_total" Counter ["worker"] "Turns that found a frame.",
    WORKER_CONNECTIONS "pollvs_worker_connections" Gauge ["worker"] "Connections in the worker's tables, IPv4 and IPv6.",
    WORKER_CONNECTIONS_MAX "pollvs_worker_connections_max" Gauge ["worker"] "Room for connections.",
    WORKER_TEMPLATES "pollvs_worker_templates" Gauge ["worker"] "Persistence templates in the worker's tables, IPv4 and IPv6.",
    WORKER_TEMPLATES_MAX "pollvs_worker_templates_max" Gauge ["worker"] "Room for templates.",
    WORKER_SCARCE "pollvs_worker_memory_scarce" Gauge ["worker"] "1 while so little room is left that the defences of modes 1 and 2 are up.",
    DROPS "pollvs_drops_total" Counter ["worker", "reason"] "Frames dropped, by reason (pollvs counters --all explains each).",
    EVENTS "pollvs_events_total" Counter ["worker", "event"] "What else happened to frames and connections (pollvs counters --all explains each).",
    BURST_SECONDS "pollvs_worker_burst_seconds" Summary ["worker"] "How long turns that found frames took; percentiles of the last 10 to 20 s.",
    BURST_FRAMES "pollvs_worker_burst_frames" Histogram ["worker"] "Frames that a turn found: off the wire, from other workers, from the kernel twins.",

    PORT_UP "pollvs_port_up" Gauge ["port"] "1 if the port's device has a link.",
    PORT_LINK_LOSSES "pollvs_port_link_losses_total" Counter ["port"] "How often the port has lost its link.",
    PORT_REMOVALS "pollvs_port_removals_total" Counter ["port"] "How often the port's device was removed.",
    PORT_RX_PACKETS "pollvs_port_rx_packets_total" Counter ["port"] "Frames received.",
    PORT_RX_BYTES "pollvs_port_rx_bytes_total" Counter ["port"] "Bytes received.",
    PORT_TX_PACKETS "pollvs_port_tx_packets_total" Counter ["port"] "Frames sent.",
    PORT_TX_BYTES "pollvs_port_tx_bytes_total" Counter ["port"] "Bytes sent.",
    PORT_RX_MISSED "pollvs_port_rx_missed_total" Counter ["port"] "Frames that the device dropped because nobody fetched them in time.",
    PORT_RX_ERRORS "pollvs_port_rx_errors_total" Counter ["port"] "Frames received with an error.",
    PORT_RX_NO_BUFFER "pollvs_port_rx_no_buffer_total" Counter ["port"] "Frames lost because the pool of buffers was empty.",
    PORT_RX_MULTI_SEGMENT "pollvs_port_rx_multi_segment_total" Counter ["port"] "Frames in more than one segment, refused.",
    PORT_CHECKSUMS "pollvs_port_checksums_finished_total" Counter ["port"] "Unfinished checksums that were finished in software.",
    PORT_TX_FULL "pollvs_port_tx_full_total" Counter ["port"] "Frames dropped because the transmit queue was full.",
    PORT_TX_ERRORS "pollvs_port_tx_errors_total" Counter ["port"] "Frames that the device failed to send.",
    PORT_TX_REMOVED "pollvs_port_tx_removed_total" Counter ["port"] "Frames dropped because the port's device was removed.",
    PORT_STEERED "pollvs_port_steered_by_device" Gauge ["port"] "1 if the device brings packets to their client's worker; 0 if workers hand them over, or there is only one.",
    PORT_HANDED_OVER "pollvs_port_handed_over_total" Counter ["port"] "Frames that came to another worker than their client's and were handed over.",
    PORT_ASTRAY "pollvs_port_astray_total" Counter ["port"] "Those among them that the device was to bring to the right worker.",

    SERVICE_INFO "pollvs_service_info" Gauge ["service", "scheduler"] "1; the label tells the scheduler.",
    SERVICE_DESTINATIONS "pollvs_service_destinations" Gauge ["service"] "Destinations of the service.",
    SERVICE_USABLE "pollvs_service_usable_destinations" Gauge ["service"] "Destinations that new connections may go to.",
    SERVICE_UP "pollvs_service_up_destinations" Gauge ["service"] "Destinations that are neither down nor drained, a sorry server at work or not.",
    SERVICE_WEIGHT_UP "pollvs_service_up_weight" Gauge ["service"] "Weight of these together, by the rules.",
    SERVICE_NEEDED "pollvs_service_quorum_weight" Gauge ["service"] "Weight that must be up: the quorum that was set.",
    SERVICE_QUORUM "pollvs_service_quorum" Gauge ["service"] "1 while the service has its quorum.",
    SERVICE_CONNECTIONS "pollvs_service_connections_total" Counter ["service"] "Connections scheduled.",
    SERVICE_IN_PACKETS "pollvs_service_in_packets_total" Counter ["service"] "Packets from clients.",
    SERVICE_OUT_PACKETS "pollvs_service_out_packets_total" Counter ["service"] "Packets from servers (NAT only).",
    SERVICE_IN_BYTES "pollvs_service_in_bytes_total" Counter ["service"] "Bytes from clients, from the IP header on.",
    SERVICE_OUT_BYTES "pollvs_service_out_bytes_total" Counter ["service"] "Bytes from servers (NAT only), from the IP header on.",
    SERVICE_CPS "pollvs_service_connections_per_second" Gauge ["service"] "Connections a second, as ipvsadm --rate shows them.",
    SERVICE_IN_PPS "pollvs_service_in_packets_per_second" Gauge ["service"] "Packets a second from clients, as ipvsadm --rate shows them.",
    SERVICE_OUT_PPS "pollvs_service_out_packets_per_second" Gauge ["service"] "Packets a second from servers, as ipvsadm --rate shows them.",
    SERVICE_IN_BPS "pollvs_service_in_bytes_per_second" Gauge ["service"] "Bytes a second from clients, as ipvsadm --rate shows them.",
    SERVICE_OUT_BPS "pollvs_service_out_bytes_per_second" Gauge ["service"] "Bytes a second from servers, as ipvsadm --rate shows them.",

    DEST_USABLE "pollvs_destination_usable" Gauge ["service", "destination"] "1 if new connections may go there: its weight in force is not 0, it is below its threshold, and there is a way to it.",
    DEST_REACHABLE "pollvs_destination_reachable" Gauge ["service", "destination"] "1 if its next hop is known, or it is the director itself.",
    DEST_STANDING "pollvs_destination_standing" Gauge ["service", "destination", "standing"] "1; the label tells how it stands: unknown (not checked, counts as up), up, down, warming, draining.",
    DEST_WEIGHT "pollvs_destination_weight" Gauge ["service", "destination"] "Its weight in force.",
    DEST_CONFIGURED "pollvs_destination_configured_weight" Gauge ["service", "destination"] "Its weight by the rules; 0 if it is quiesced.",
    DEST_OVERLOADED "pollvs_destination_overloaded" Gauge ["service", "destination"] "1 while it is above its upper threshold and not below its lower one again.",
    DEST_ACTIVE "pollvs_destination_active_connections" Gauge ["service", "destination"] "Active connections (ActiveConn).",
    DEST_INACTIVE "pollvs_destination_inactive_connections" Gauge ["service", "destination"] "All other connections (InActConn).",
    DEST_PERSISTENT "pollvs_destination_persistent_connections" Gauge ["service", "destination"] "Persistence templates (PersistConn).",
    DEST_CONNECTIONS "pollvs_destination_connections_total" Counter ["service", "destination"] "Connections scheduled.",
    DEST_IN_PACKETS "pollvs_destination_in_packets_total" Counter ["service", "destination"] "Packets from clients.",
    DEST_OUT_PACKETS "pollvs_destination_out_packets_total" Counter ["service", "destination"] "Packets from the server (NAT only).",
    DEST_IN_BYTES "pollvs_destination_in_bytes_total" Counter ["service", "destination"] "Bytes from clients, from the IP header on.",
    DEST_OUT_BYTES "pollvs_destination_out_bytes_total" Counter ["service", "destination"] "Bytes from the server (NAT only), from the IP header on.",
    DEST_CPS "pollvs_destination_connections_per_second" Gauge ["service", "destination"] "Connections a second, as ipvsadm --rate shows them.",
    DEST_IN_PPS "pollvs_destination_in_packets_per_second" Gauge ["service", "destination"] "Packets a second from clients, as ipvsadm --rate shows them.",
    DEST_OUT_PPS "pollvs_destination_out_packets_per_second" Gauge ["service", "destination"] "Packets a second from the server, as ipvsadm --rate shows them.",
    DEST_IN_BPS "pollvs_destination_in_bytes_per_second" Gauge ["service", "destination"] "Bytes a second from clients, as ipvsadm --rate shows them.",
    DEST_OUT_BPS "pollvs_destination_out_bytes_per_second" Gauge ["service", "destination"] "Bytes a second from the server, as ipvsadm --rate shows them.",

    SORRY_ON "pollvs_sorry_server_on" Gauge ["service", "destination"] "1 while the sorry server takes everything new, 0 while it is at rest.",
    SORRY_REACHABLE "pollvs_sorry_server_reachable" Gauge ["service", "destination"] "1 if its next hop is known, or it is the director itself.",
    SORRY_ACTIVE "pollvs_sorry_server_active_connections" Gauge ["service", "destination"] "Its active connections (ActiveConn).",
    SORRY_CONNECTIONS "pollvs_sorry_server_connections_total" Counter ["service", "destination"] "Connections scheduled to it.",

    DRAIN_OVER "pollvs_drain_over" Gauge ["service", "destination"] "0 while a drain waits for what the destination has, 1 when nothing is left or the time is over.",
    DRAIN_CONNECTIONS "pollvs_drain_connections" Gauge ["service", "destination"] "Connections that the drained destination still has, active or not.",
    DRAIN_LEFT "pollvs_drain_left_seconds" Gauge ["service", "destination"] "Time until the drain is over whatever is left; not there for a drain without end.",

    CHECK_UP "pollvs_check_up" Gauge ["service", "destination"] "1 if the destination is up by its health check, or taken for it until checks have decided.",
    CHECKS "pollvs_checks_total" Counter ["service", "destination"] "Health checks made.",
    CHECK_FAILURES "pollvs_check_failures_total" Counter ["service", "destination"] "Health checks that failed.",
    CHECK_SECONDS "pollvs_check_seconds" Gauge ["service", "destination"] "How long the last health check took.",

    SYNC_DAEMON "pollvs_sync_daemon" Gauge ["role"] "1 if a synchronisation daemon of this role is to run.",
    SYNC_READY "pollvs_sync_ready" Gauge [] "1 if the director may take over: what another knows is here as far as sync.ready_percent asks.",
    SYNC_RATIO "pollvs_sync_ratio" Gauge [] "Share, 0 to 1, of another director's connections that is here.",
    SYNC_WAITS "pollvs_sync_waits" Gauge [] "Daemons that wait for something, such as their interface.",
    SYNC_EVENTS "pollvs_sync_events_total" Counter ["event"] "What the synchronisation counted (pollvs sync --all explains each).",
}
