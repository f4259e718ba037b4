ip6tables -t mangle -A PREROUTING -d 2001:db8:1::/64 -p tcp --dport 80 -j MARK --set-mark 7
ip6tables -t mangle -A PREROUTING -d 2001:db8:2::18 -p tcp -j MARK --set-mark 9
ip -6 rule add fwmark 9 lookup 44
ip -6 route add local default dev lo table 44
sysctl -w net.ipv4.vs.cache_bypass=1
ipvsadm -A -f 7 -6 -s rr -p 60
ipvsadm -a -f 7 -6 -r [2001:db8:2::11]:0 -m
ipvsadm -A -f 9 -6 -s rr
ipvsadm -A -f 7 -s rr
