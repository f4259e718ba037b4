iptables -t mangle -A PREROUTING -d 192.0.2.10 -p tcp -m tcp --dport 80 -j MARK --set-mark 3
ipvsadm -A -f 3 -s rr
ipvsadm -a -f 3 -r 198.51.100.11:8080 -m
ipvsadm -a -f 3 -r 198.51.100.12:8080 -g
ipvsadm -a -f 3 -r 198.51.100.13 -m
sysctl -w net.ipv4.vs.nat_icmp_send=1
