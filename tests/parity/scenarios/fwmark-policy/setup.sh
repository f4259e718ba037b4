iptables -t mangle -A PREROUTING -p tcp -m multiport --dports 80,81 -j MARK --set-mark 4
iptables -t mangle -A PREROUTING -p udp --dport 53 -j MARK --set-mark 4
iptables -t mangle -A PREROUTING -p tcp --dport 90 -j MARK --set-mark 5
iptables -t mangle -A PREROUTING -d 192.0.2.10 -p tcp --dport 22 -j MARK --set-mark 4
ip rule add fwmark 4 lookup 44
ip rule add fwmark 5 lookup 44
ip route add local default dev lo table 44
ipvsadm -A -f 4 -s rr -p 60
ipvsadm -a -f 4 -r 198.51.100.13 -m
ipvsadm -A -f 5 -s rr
ipvsadm -A -t 192.0.2.11:80 -s rr
ipvsadm -a -t 192.0.2.11:80 -r 198.51.100.12:80 -m
