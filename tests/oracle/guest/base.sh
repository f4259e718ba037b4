# The network that every scenario starts from (a scenario's `base.sh`
# replaces it).  eth0 = client side, eth1 = realserver side; both are TAP
# devices whose other end is the agent, so no frame leaves the VM.
#
#   client(s) 203.0.113.0/24, 198.18.0.0/15 -- gw 192.0.2.254 -- eth0 192.0.2.1
#   VIPs 192.0.2.10 .11 .12 (on eth0)
#   eth1 198.51.100.1 -- realservers 198.51.100.11 ... .18
# Shell built-ins only: a process costs 30 ms in User-Mode Linux.
p=/proc/sys/net
w() { echo "$2" > "$p/$1" 2>/dev/null; }
w ipv4/ip_forward 1
w ipv4/icmp_ratelimit 0
w ipv4/icmp_msgs_per_sec 100000
w ipv4/icmp_msgs_burst 100000
w ipv6/icmp/ratelimit 0
for i in all default eth0 eth1; do
  w ipv4/conf/$i/rp_filter 0
  w ipv4/conf/$i/send_redirects 0
  w ipv6/conf/$i/accept_ra 0
  w ipv6/conf/$i/router_solicitations 0
  w ipv6/conf/$i/accept_dad 0
  w ipv6/conf/$i/addr_gen_mode 1
  w ipv6/conf/$i/forwarding 1
done
{
echo "link set lo up"
echo "link set eth0 up"
echo "link set eth1 up"
echo "addr add 192.0.2.1/24 dev eth0"
for v in 10 11 12; do echo "addr add 192.0.2.$v/32 dev eth0"; done
echo "addr add 198.51.100.1/24 dev eth1"
echo "neigh replace 192.0.2.254 lladdr 02:00:00:00:00:fe dev eth0 nud permanent"
for n in 11 12 13 14 15 16 17 18; do
  h=$(printf %02x $n)
  echo "neigh replace 198.51.100.$n lladdr 02:00:00:00:01:$h dev eth1 nud permanent"
  echo "neigh replace 2001:db8:2::$n lladdr 02:00:00:00:01:$h dev eth1 nud permanent"
done
echo "route add default via 192.0.2.254 dev eth0"
echo "addr add 2001:db8:1::1/64 dev eth0 nodad"
echo "addr add 2001:db8:1::10/128 dev eth0 nodad"
echo "addr add 2001:db8:2::1/64 dev eth1 nodad"
echo "neigh replace 2001:db8:1::254 lladdr 02:00:00:00:00:fe dev eth0 nud permanent"
echo "route add default via 2001:db8:1::254 dev eth0"
} > /tmp/ip.batch
ip -force -batch /tmp/ip.batch
