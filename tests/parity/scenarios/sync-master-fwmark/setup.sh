ipvsadm --start-daemon master --mcast-interface eth1 --syncid 7
sysctl -w net.ipv4.vs.sync_threshold="1 2"
iptables -t mangle -A PREROUTING -d 192.0.2.10 -p tcp -m multiport --dports 80,443 -j MARK --set-mark 7
iptables -t mangle -A PREROUTING -d 192.0.2.11 -p tcp -m multiport --dports 80,443 -j MARK --set-mark 7
ipvsadm -A -f 7 -s rr -p 120
ipvsadm -a -f 7 -r 198.51.100.11:0 -m -w 1
ipvsadm -a -f 7 -r 198.51.100.12:0 -m -w 1
ipvsadm -a -f 7 -r 198.51.100.13:0 -m -w 1
