ip route add local 198.18.0.0/24 dev lo
iptables -t mangle -A PREROUTING -d 192.0.2.10 -p tcp -m tcp --dport 80 -j MARK --set-mark 1
iptables -t mangle -A PREROUTING -d 192.0.2.11 -p tcp -m multiport --dports 80,443 -j MARK --set-mark 1
iptables -t mangle -A PREROUTING -d 192.0.2.12 -p tcp -m tcp ! --dport 81 -j MARK --set-mark 1
iptables -t mangle -A PREROUTING -d 198.18.0.0/24 -p udp -m udp --dport 80 -j MARK --set-mark 1
iptables -t mangle -A PREROUTING -d 198.18.0.7 -p tcp -j MARK --set-mark 1
ipvsadm -A -f 1 -s rr
ipvsadm -a -f 1 -r 198.51.100.11:0 -g
ipvsadm -a -f 1 -r 198.51.100.12:0 -m
