iptables -t mangle -A PREROUTING -d 192.0.2.11 -p tcp -m tcp --dport 20:21 -j MARK --set-mark 7
iptables -t mangle -A PREROUTING -d 192.0.2.11 -p tcp -m tcp --dport 30000:30009 -j MARK --set-mark 7
ipvsadm -A -t 192.0.2.10:0 -s rr -p 60
ipvsadm -a -t 192.0.2.10:0 -r 198.51.100.11:0 -m
ipvsadm -A -f 7 -s rr -p 60
ipvsadm -a -f 7 -r 198.51.100.12:0 -m
ipvsadm -A -t [2001:db8:1::10]:0 -s rr -p 60
ipvsadm -a -t [2001:db8:1::10]:0 -r [2001:db8:2::13]:0 -m
